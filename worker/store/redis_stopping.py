"""What is unfinished in a conversation, and its end, in Redis.

A part of :class:`worker.store.redis.RedisStore`; each step is one script.
"""

from typing import Any

from worker.store import lua_stopping as lua
from worker.store.base import DueMessage, Open, StoppedMessage, StopResult
from worker.store.records import (
    conversation_key,
    due_message,
    ms,
    pack,
    packed_place,
    plain,
    standing,
    unpack,
)
from worker.store.redis_limits import RedisLimits

__all__ = ["RedisStopping", "next_in"]


class RedisStopping(RedisLimits):
    """The part of a store that knows what of a conversation can be stopped."""

    def __init__(self, url: str, **options: Any) -> None:
        """Prepare; nothing is connected to yet. ``options`` as for the base."""
        super().__init__(url, **options)
        self._stops = f"{self._prefix}stops"
        register = self._redis.register_script
        self._stop, self._open_in = register(lua.STOP), register(lua.OPEN_IN)

    def stop(
        self,
        bot: str,
        conversation_id: str,
        *,
        before: tuple[int, int],
        facts: dict[str, Any],
        hold_s: float,
        task_id: str | None = None,
    ) -> StopResult:
        """See :meth:`Store.stop <worker.store.base.Store.stop>`."""
        key = conversation_key(bot, conversation_id)
        keys = [self._open_key(key), f"{self._prefix}stop:{key}", self._stops, self._due]
        only = "" if task_id is None else plain(task_id)
        values = (*packed_place(before), only, pack(facts), self._done_ttl, ms(hold_s))
        stopped, next_ = self._run(self._stop, keys, *values)
        return StopResult(
            tuple(
                StoppedMessage(id_, message_id, state, bool(at_work), int(sent), unpack(envelope))
                for id_, message_id, state, at_work, sent, envelope in stopped
            ),
            tuple(each for each in map(next_in, next_) if each is not None),
        )

    def open_in(self, bot: str, conversation_id: str) -> list[Open]:
        """See :meth:`Store.open_in <worker.store.base.Store.open_in>`."""
        key = conversation_key(bot, conversation_id)
        found = [
            Open(id_, state, None if int(ran) < 0 else int(ran) / 1000, unpack(envelope))
            for id_, state, ran, envelope in self._run(self._open_in, [self._open_key(key)])
        ]
        return sorted(found, key=standing)

    def last_stop(self) -> int:
        """See :meth:`Store.last_stop <worker.store.base.Store.last_stop>`."""
        with self._errors():
            found: Any = self._redis.get(self._stops)
        return int(found or 0)

    def _open_key(self, conversation: str) -> str:
        return f"{self._prefix}open:{conversation}"


def next_in(found: list[str] | None) -> DueMessage | None:
    """Return the message that a script has handed the turn to, if any."""
    return due_message(*found, has_answer=False) if found else None
