"""Where the broker is, and how it is reached: one address, the options that go with it, the queues.

For the listener, which does without kombu where it can; everybody else takes it from
``contract/broker.py``, and the queues as they are declared, alike to the letter.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from contract.routing import QUEUES, queue_arguments
from contract.settings import EMBEDDED_BROKER

if TYPE_CHECKING:
    import kombu

__all__ = ["Broker"]


@dataclass(frozen=True)
class Broker:
    """Where tasks go.

    ``url`` may hold a password: it stays out of ``repr``; ``name`` is for logs.
    """

    url: str = field(repr=False)
    name: str
    transport_options: dict[str, Any] = field(repr=False)
    queue_arguments: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_url(cls, broker_url: str, data_dir: Path) -> Self:
        """Fit the options to the kind of broker."""
        parts = urlsplit(broker_url)
        if broker_url.startswith(EMBEDDED_BROKER):
            folder = data_dir.absolute() / "broker"
            options: dict[str, Any] = {"folder": str(folder)}
            return cls(f"{EMBEDDED_BROKER}localhost", f"embedded in {folder}", options)
        if parts.scheme in {"amqp", "amqps"}:
            # No confirm_publish: the listener counts its confirms by the batch, and a worker's
            # threads would wait for them on the one connection its events go through, where one
            # reads away what another waits for.
            options = {"login_method": "PLAIN"}
        else:
            options = {"socket_keepalive": True, "health_check_interval": 25}
            broker_url = _with_certificate_rule(broker_url)
        name = f"{parts.scheme} at {parts.hostname}:{parts.port or 'default port'}"
        return cls(broker_url, name, options, queue_arguments(broker_url))

    @property
    def is_embedded(self) -> bool:
        """Whether tasks are files on this machine."""
        return self.url.startswith(EMBEDDED_BROKER)

    def queues(self) -> "list[kombu.Queue]":
        """Return the queues of :mod:`contract.routing`, declared alike by both sides."""
        import kombu

        return [
            kombu.Queue(
                name,
                kombu.Exchange(name, type="direct", durable=True),
                routing_key=name,
                durable=True,
                queue_arguments=self.queue_arguments or None,
            )
            for name in QUEUES
        ]

    def connection(self, **arguments: Any) -> "kombu.Connection":
        """Return a connection, not yet opened; ``arguments`` are kombu's."""
        import kombu

        import contract.broker  # noqa: F401, makes our transports known to kombu

        return kombu.Connection(
            self.url, transport_options=self.transport_options.copy(), **arguments
        )


def _with_certificate_rule(redis_url: str) -> str:
    """Let ``rediss://`` work as Heroku gives it: its certificates are signed by nobody known.

    kombu leaves TLS off without a rule in the URL. ``?ssl_cert_reqs=required`` turns checking on.
    """
    if not redis_url.startswith("rediss://") or "ssl_cert_reqs=" in redis_url:
        return redis_url
    return f"{redis_url}{'&' if urlsplit(redis_url).query else '?'}ssl_cert_reqs=none"
