"""How both sides reach the broker: one address, the options that go with it, the same queues.

Importing this makes our transports known to kombu; ``celeryconfig.py`` does, and whoever reads from
the broker. The listener publishes to Redis without kombu, and takes :class:`Broker` from
``contract/broker_address.py``.
"""

from kombu.transport import TRANSPORT_ALIASES

from contract.broker_address import Broker

__all__ = ["Broker"]

# kombu's way to add a transport; a module is loaded only when its scheme is used.
TRANSPORT_ALIASES["embedded"] = "contract.embedded:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "contract.redis_broker:Transport"
TRANSPORT_ALIASES["amqp"] = "contract.rabbitmq_broker:Transport"
TRANSPORT_ALIASES["amqps"] = "contract.rabbitmq_broker:SSLTransport"
