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
kombu's own transport works as well, at that price. The listener writes the same without kombu
(``listener/redis_publisher.py``).
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from queue import Empty
from typing import Any, NoReturn

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from contract.routing import QUEUES, wake_of

__all__ = ["Channel", "Transport"]

logger = logging.getLogger(__name__)

REFUSED_PAUSE_S = 1.0

# As many messages at once, if there is room for them: each is one that a worker starts now.
TAKEN_AT_ONCE = 8
# Lua takes no more than some thousand values apart.
CARRIED_AT_ONCE = 1000

# ARGV: how many at most, then the tags of what was acknowledged meanwhile. The time is that of
# Redis: workers whose clocks differ still agree on what is overdue. What stands in ``unacked`` is
# what kombu writes there: the message, its exchange, its routing key.
TAKE = """
local wake, unacked, index, most = KEYS[1], KEYS[2], KEYS[3], 2 * ARGV[1]
if #ARGV > 1 then
  redis.call('HDEL', unacked, unpack(ARGV, 2))
  redis.call('ZREM', index, unpack(ARGV, 2))
end
local taken, now = {}, redis.call('TIME')[1]
for i = 4, #KEYS do
  while #taken < most do
    local payload = redis.call('RPOP', KEYS[i])
    if not payload then break end
    local ok, value, tag = pcall(function()
      local properties = cjson.decode(payload).properties
      local info = properties.delivery_info
      return '[' .. payload .. ',' .. cjson.encode(info.exchange) .. ','
        .. cjson.encode(info.routing_key) .. ']', properties.delivery_tag
    end)
    if ok then
      redis.call('HSET', unacked, tag, value)
      redis.call('ZADD', index, now, tag)
    end
    table.insert(taken, KEYS[i])
    table.insert(taken, payload)
  end
end
if #taken < most then redis.call('DEL', wake) else redis.call('LTRIM', wake, 0, 999) end
return taken
"""


# The stubs leave out what is overridden here.
_QoS: Any = kombu_redis.QoS
_Channel: Any = kombu_redis.Channel
_Poller: Any = kombu_redis.MultiChannelPoller
_Transport: Any = kombu_redis.Transport


class QoS(_QoS):  # type: ignore[misc]
    """Knows that what the script took is noted already."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was read."""
        if self.channel.is_taking:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, with others where that is possible."""
        if self.channel.acknowledge(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

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
        self._is_refused = self._is_closed = False
        self._own: Any = None
        self._room = 1
        self._acknowledged: list[str] = []  # tags that nobody has told Redis of
        self._carried: list[str] = []  # those that went along with the take that is on its way
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
            batch.add("lpush", wake_of([queue]), "1")
            return
        with self.conn_or_acquire() as client:
            client.lpush(wake_of([queue]), "1")

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield a client; kombu makes a new one each time, which costs more than what it is for."""
        if client is None:
            if self._own is None or self._own.connection_pool is not self.pool:
                self._own = self._create_client()
            client = self._own
        yield client

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
            self._room = self._free_slots()
            fits = CARRIED_AT_ONCE - len(self._carried)
            self._carried += self._acknowledged[:fits]
            del self._acknowledged[:fits]
            keys = [
                self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues
            ]
            names = [wake_of(self.active_queues), self.unacked_key, self.unacked_index_key, *keys]
            self.client.connection.send_command(
                "EVAL", TAKE, len(names), *names, self._room, *self._carried
            )
        else:
            self._asked = _Asked.WAKE
            wake, wait_s = wake_of(self.active_queues), timeout or self.brpop_timeout
            self.client.connection.send_command("BRPOP", wake, wait_s)

    def _brpop_read(self, **options: Any) -> Any:
        asked, self._found = self._asked, False
        try:
            if asked is _Asked.KOMBU:
                return super()._brpop_read(**options)
            if asked is _Asked.WAKE:
                is_woken = self._answer("BRPOP", **options)
                self._found = True  # woken or not, look
                if not is_woken or not self._looks_at_once():
                    raise Empty
            self._deliver_all(self._answer("EVAL", **options) or ())
        except self.ResponseError as error:
            self._refused(error)
        finally:
            self._asked = _Asked.KOMBU
        return True

    def _looks_at_once(self) -> bool:
        """Ask for messages before the loop turns, which takes longer than the answer."""
        if not self.qos.can_consume():
            return False
        self._brpop_start()
        is_asked = self._asked is _Asked.TAKE
        if is_asked:
            self._found = False
        return is_asked

    def _answer(self, command: str, **options: Any) -> Any:
        try:
            return self.client.parse_response(self.client.connection, command, **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _deliver_all(self, taken: Sequence[bytes]) -> None:
        """Hand on what the script took: names of queues and messages, in turn."""
        self._carried.clear()
        self._is_refused = False
        # With fewer than there was room for the queues are empty: another look would find nothing.
        self._found = len(taken) == 2 * self._room
        if not taken:
            raise Empty
        for name, payload in zip(taken[::2], taken[1::2], strict=True):
            queue = bytes_to_str(name).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.connection._deliver(loads(bytes_to_str(payload)), queue)

    def _free_slots(self) -> int:
        """Return how many messages may be taken: no more than are worked on at once."""
        room = self.qos.can_consume_max_estimate()
        return 1 if room is None else max(1, min(int(room), TAKEN_AT_ONCE))

    # Acknowledgements, which in an event loop go along with the next take, or together.

    def acknowledge(self, tag: str) -> bool:
        """Take a tag to be acknowledged before the loop waits next; False outside of a loop.

        And on a connection that is lost, which no loop waits for any more.
        """
        if self.connection.cycle.is_in_loop and self.do_restore and not self._is_closed:
            self._acknowledged.append(tag)
            return True
        return False

    def settle(self) -> None:
        """Acknowledge what no take has carried along, or will in a moment."""
        if self._in_poll and self._asked is _Asked.TAKE:
            return
        tags = [*self._carried, *self._acknowledged]
        if not tags:
            return
        try:
            with self.conn_or_acquire() as client, client.pipeline() as both:
                both.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()
        except self.ResponseError as error:  # Celery would end the worker; once more next time
            self._say_refused(error)
            self.pool.disconnect()
            return
        self._carried.clear()
        self._acknowledged.clear()

    def close(self) -> None:
        """Close; what is acknowledged from now on goes at once, by a connection of its own."""
        self._is_closed = True
        if self._in_poll and self._asked is _Asked.WAKE:
            # kombu would wait up to a second for an answer that says no more than "look".
            self._in_poll = None
            self.client.connection.disconnect()
        if self.do_restore:  # else the connection is lost
            with suppress(Empty, *self.connection_errors, self.ResponseError):
                if self._in_poll:
                    self._brpop_read()
            with suppress(*self.connection_errors, self.ResponseError):
                self.settle()
        super().close()

    def _refused(self, error: Exception) -> NoReturn:
        """Wait; such as a replica after a failover, or a user that may not run scripts.

        Celery would end the worker. A new connection may lead to another server.
        """
        self._say_refused(error)
        self.client.connection.disconnect()
        time.sleep(REFUSED_PAUSE_S)
        raise Empty from None

    def _say_refused(self, error: Exception) -> None:
        if not self._is_refused:
            logger.error("the broker lets no message be taken: %s", type(error).__name__)
        self._is_refused = True


class Poller(_Poller):  # type: ignore[misc]
    """Sends before each wait what its channels have acknowledged."""

    is_in_loop = False

    def on_poll_start(self) -> None:
        """Ask for messages, then acknowledge what could not go along with that."""
        super().on_poll_start()
        for channel in self._channels:
            channel.settle()


class Transport(_Transport):  # type: ignore[misc]
    """Registered for ``redis://`` and ``rediss://`` by :mod:`contract.broker`."""

    Channel = Channel

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have ``loop`` wait for this transport's connections."""
        super().register_with_event_loop(connection, loop)
        self.cycle.is_in_loop = True
