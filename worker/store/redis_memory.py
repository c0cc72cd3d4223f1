"""What was said, in Redis: read before an agent runs, and forgotten.

A part of :class:`worker.store.redis.RedisStore`. It is written by the steps that end a message;
``lua_memory.py`` has all of that.
"""

from typing import Any

from worker.store import lua_memory
from worker.store.base import Scope
from worker.store.lua import PRELUDE
from worker.store.memory_records import mark_of, scope_key
from worker.store.records import conversation_key, key_of, ms, plain, unpack
from worker.store.redis_stopping import RedisStopping

__all__ = ["RedisMemory"]


class RedisMemory(RedisStopping):
    """The part of a store that knows what was said."""

    def __init__(self, url: str, **options: Any) -> None:
        """Prepare; nothing is connected to yet. ``options`` as for the base."""
        super().__init__(url, **options)
        register = self._redis.register_script
        self._exchanges = register(PRELUDE + lua_memory.EXCHANGES)
        self._forget = register(PRELUDE + lua_memory.FORGET)
        self._mark_forgotten = register(PRELUDE + lua_memory.MARK_FORGOTTEN)

    def exchanges(
        self, scope: Scope, *, before: tuple[int, int], turns: int, within_s: float
    ) -> list[Any]:
        """See :meth:`Store.exchanges <worker.store.base.Store.exchanges>`."""
        entries = self._entries(conversation_key(scope.bot, scope.conversation_id))
        place = (max(0, before[0]), f"{max(0, before[1]):017d}")
        keys = [f"{self._prefix}memory:{scope_key(scope)}"]
        found = self._run(self._exchanges, keys, entries, turns, ms(within_s), *place)
        return [unpack(said) for said in reversed(found)]

    def forget(
        self,
        *,
        conversation_id: str = "",
        person: str = "",
        bot: str = "",
        before_ms: int | None = None,
    ) -> int:
        """See :meth:`Store.forget <worker.store.base.Store.forget>`."""
        with self._errors():
            since = self._now_ms() if before_ms is None else before_ms
        mark = f"{self._prefix}forgotten:{mark_of(bot, conversation_id, person)}"
        self._run(self._mark_forgotten, [mark], since, self._missed_ttl)
        until = "+inf" if before_ms is None else str(before_ms)
        who = key_of(person) if person else ""
        return sum(
            int(
                self._run(
                    self._forget,
                    [f"{self._prefix}memories:{conversation}"],
                    self._entries(conversation),
                    who,
                    until,
                )
            )
            for conversation in self._conversations(bot, conversation_id)
        )

    def _conversations(self, bot: str, conversation_id: str) -> list[str]:
        """Return the keys of conversations in which something may be remembered."""
        if conversation_id:
            bots = [bot] if bot else self._bots()
            return [conversation_key(each, conversation_id) for each in bots]
        prefix = f"{self._prefix}memories:"
        with self._errors():
            found = {plain(key) for key in self._redis.scan_iter(f"{prefix}*", count=1000)}
        return sorted(key.removeprefix(prefix) for key in found)

    def _entries(self, conversation: str) -> str:
        return f"{self._prefix}said:{conversation}:"
