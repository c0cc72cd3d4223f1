"""The Redis broker: kombu's transport, made safe against the loss of a message that is being read.

kombu waits with ``BRPOP``, which takes a message out of Redis, and notes it as not acknowledged
once it has read it: what is on its way to a process that is killed, stopped or unreachable at that
moment is gone. Here one script takes and notes at once, and what is waited for is a second list,
which says no more than "look"::

    <queue>         messages; written first
    dingtalk:wake   one entry for each, so that one waiting worker looks at once; 1000 at most
    dingtalk:wake:commands      the same for the queue ``commands``, which others than the rest
                                take: none of the others shall use up its entries
    unacked, unacked_index      read and not acknowledged yet (kombu's)

An entry that gets lost costs a second, as every worker looks once a second anyway. Publishing with
kombu's own transport works as well, at that price.
"""

import logging
import time
from collections.abc import Iterable
from enum import Enum, auto
from queue import Empty
from typing import Any, NoReturn

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from contract.routing import COMMANDS, QUEUES

__all__ = ["Channel", "Transport"]

logger = logging.getLogger(__name__)

WAKE = "dingtalk:wake"
WAKE_COMMANDS = "dingtalk:wake:commands"
REFUSED_PAUSE_S = 1.0

# The time is that of Redis: workers whose clocks differ still agree on what is overdue. What stands
# in ``unacked`` is what kombu writes there: the message, its exchange, its routing key.
TAKE = """
local wake, unacked, index = KEYS[1], KEYS[2], KEYS[3]
for i = 4, #KEYS do
  local payload = redis.call('RPOP', KEYS[i])
  if payload then
    local ok, value, tag = pcall(function()
      local properties = cjson.decode(payload).properties
      local info = properties.delivery_info
      return '[' .. payload .. ',' .. cjson.encode(info.exchange) .. ','
        .. cjson.encode(info.routing_key) .. ']', properties.delivery_tag
    end)
    redis.call('LTRIM', wake, 0, 999)
    if ok then
      redis.call('HSET', unacked, tag, value)
      redis.call('ZADD', index, redis.call('TIME')[1], tag)
    end
    return {KEYS[i], payload}
  end
end
redis.call('DEL', wake)
return false
"""


def _wake_of(queues: Iterable[str]) -> str:
    """Return the list that a consumer of these queues waits for."""
    return WAKE_COMMANDS if set(queues) == {COMMANDS} else WAKE


# The stubs leave out what is overridden here.
_QoS: Any = kombu_redis.QoS
_Channel: Any = kombu_redis.Channel


class QoS(_QoS):  # type: ignore[misc]
    """Knows that what the script took is noted already."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was read."""
        if self.channel.is_taking:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def restore_visible(self, *arguments: Any, **options: Any) -> Any:
        """Restore what others left too long; what this process has in hand is not left."""
        self._touch()
        return super().restore_visible(*arguments, **options)

    def _touch(self) -> None:
        try:
            tags = list(self._delivered)
        except RuntimeError:  # another thread acknowledges just now; the next time will do
            return
        if not tags:
            return
        with self.channel.conn_or_acquire() as client:
            now = client.time()[0]
            client.zadd(self.unacked_index_key, dict.fromkeys(tags, now), xx=True)


class _Asked(Enum):
    """What a channel has sent and waits for the answer of."""

    KOMBU = auto()  # whatever kombu sends
    TAKE = auto()
    WAKE = auto()


class Channel(_Channel):  # type: ignore[misc]
    """A channel that takes from our queues by the script; from others as kombu does."""

    QoS = QoS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._asked = _Asked.KOMBU
        self._found = True  # so that it looks before it waits
        self._is_careless = False  # consumes without acknowledgement
        self._is_refused = False
        super().__init__(*arguments, **options)

    @property
    def is_taking(self) -> bool:
        """Whether a message that is being delivered was taken by the script."""
        return self._asked is _Asked.TAKE

    def basic_consume(self, queue: str, no_ack: bool, *arguments: Any, **options: Any) -> Any:
        """Consume; a queue that needs no acknowledgement makes the channel an ordinary one."""
        self._is_careless |= no_ack and queue in QUEUES
        return super().basic_consume(queue, no_ack, *arguments, **options)

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        batch = options.get("_publish_batch")
        super()._put(queue, message, **options)
        if queue not in QUEUES:
            return
        if batch is not None:
            batch.add("lpush", _wake_of([queue]), "1")
            return
        with self.conn_or_acquire() as client:
            client.lpush(_wake_of([queue]), "1")

    # Called by kombu's poller when the channel may take a message, and when there is an answer.

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._is_careless or not set(self.active_queues) <= set(QUEUES):
            self._asked = _Asked.KOMBU
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        if self._found:
            self._asked = _Asked.TAKE
            keys = [
                self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues
            ]
            names = [_wake_of(self.active_queues), self.unacked_key, self.unacked_index_key, *keys]
            self.client.connection.send_command("EVAL", TAKE, len(names), *names)
        else:
            self._asked = _Asked.WAKE
            wake, wait_s = _wake_of(self.active_queues), timeout or self.brpop_timeout
            self.client.connection.send_command("BRPOP", wake, wait_s)

    def _brpop_read(self, **options: Any) -> Any:
        asked, self._found = self._asked, False
        try:
            if asked is _Asked.WAKE:
                self._wake_up(**options)
            # The script's answer has the form of BRPOP's.
            self._found = super()._brpop_read(**options)
        except self.ResponseError as error:
            self._refused(error)
        finally:
            self._asked = _Asked.KOMBU
        self._is_refused = False
        return self._found

    def _wake_up(self, **options: Any) -> NoReturn:
        try:
            self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        self._found = True  # woken or not, look
        raise Empty

    def _refused(self, error: Exception) -> NoReturn:
        """Wait; such as a replica after a failover, or a user that may not run scripts.

        Celery would end the worker. A new connection may lead to another server.
        """
        if not self._is_refused:
            logger.error("the broker lets no message be taken: %s", type(error).__name__)
        self._is_refused = True
        self.client.connection.disconnect()
        time.sleep(REFUSED_PAUSE_S)
        raise Empty from None


class Transport(kombu_redis.Transport):
    """Registered for ``redis://`` and ``rediss://`` by :mod:`contract.broker`."""

    Channel = Channel
