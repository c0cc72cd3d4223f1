"""Connections to Redis that are not looked at before each command.

The client asks of a connection, whenever it takes one from its pool, whether its server has closed
it: three calls of the system, beside the four of a command and its answer. Here that is asked of
one that was not used for a moment. One that is closed just then is met by the client's retry.
"""

import time

import redis

__all__ = ["LOOK_AFTER_S", "connection_class"]

LOOK_AFTER_S = 1.0


class _Trusted(redis.Connection):
    _used_at = 0.0

    def can_read(self, timeout: float = 0) -> bool:
        """Whether there is something to read, which there is not between two commands."""
        before, self._used_at = self._used_at, time.monotonic()
        if self._sock is not None and self._used_at - before < LOOK_AFTER_S:
            return False
        return bool(super().can_read(timeout))


class _TrustedTLS(_Trusted, redis.SSLConnection):
    pass


def connection_class(scheme: str) -> type[redis.Connection]:
    """Return what a pool makes for an address with that scheme."""
    return _TrustedTLS if scheme == "rediss" else _Trusted
