"""A broker address as Heroku gives it, with a certificate that nobody known has signed."""

import pytest
from kombu.exceptions import OperationalError

from contract.broker import Broker
from tests import servers


def test_a_redis_behind_tls_takes_messages(tmp_path):
    with servers.redis_with_tls(tmp_path, "SECRET") as url:
        broker = Broker.from_url(url, tmp_path)
        with broker.connection() as connection, connection.Producer() as producer:
            queue = broker.queues()[0](connection.default_channel)
            queue.declare()
            producer.publish("hello", exchange="", routing_key="messages")

            message = queue.get(no_ack=True)

            assert message is not None
            assert message.payload == "hello"


def test_certificates_are_checked_when_the_address_asks_for_it(tmp_path):
    with servers.redis_with_tls(tmp_path, "SECRET") as url:
        broker = Broker.from_url(f"{url}?ssl_cert_reqs=required", tmp_path)

        with pytest.raises(OperationalError, match=r"(?i)certificate"):
            broker.connection().ensure_connection(max_retries=1, interval_start=0)
