"""The limits that all processes keep together, their counts, and single notes, in Redis.

A part of :class:`worker.store.redis.RedisStore`; each step is one script.
"""

from collections.abc import Sequence
from typing import Any

from worker.store import lua_limits as lua
from worker.store.base import Limit, Note
from worker.store.records import ms, plain, unpack
from worker.store.redis_operator import RedisOperator

__all__ = ["RedisLimits", "told_of"]


class RedisLimits(RedisOperator):
    """The part of a store that says who has to wait."""

    def __init__(self, url: str, **options: Any) -> None:
        """Prepare; nothing is connected to yet. ``options`` as for the base."""
        super().__init__(url, **options)
        register = self._redis.register_script
        self._admit, self._hold_back = register(lua.ADMIT), register(lua.HOLD_BACK)
        self._count_up, self._recalled = register(lua.COUNT_UP), register(lua.RECALLED)

    def admit(self, limits: Sequence[Limit]) -> float:
        """See :meth:`Store.admit <worker.store.base.Store.admit>`."""
        if not limits:
            return 0.0
        return int(self._run(self._admit, self._limit_keys(limits), *told_of(limits))) / 1000

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """See :meth:`Store.hold_back <worker.store.base.Store.hold_back>`."""
        self._run(self._hold_back, [self._limit_key(key)], ms(for_s), ms(slow_s))

    def count_up(self, kind: str, key: str, *, ttl_s: float, by: int = 1) -> int:
        """See :meth:`Store.count_up <worker.store.base.Store.count_up>`."""
        name = f"{self._prefix}count:{kind}:{plain(key)}"
        return int(self._run(self._count_up, [name], by, ms(ttl_s)))

    def recalled(self, kind: str, key: str) -> Note | None:
        """See :meth:`Store.recalled <worker.store.base.Store.recalled>`."""
        found = self._run(self._recalled, [f"{self._note}{kind}:{plain(key)}"])
        return None if not found else Note(key, unpack(found[0]), int(found[1]) / 1000)

    def _limit_key(self, key: str) -> str:
        return f"{self._prefix}limit:{plain(key)}"

    def _limit_keys(self, limits: Sequence[Limit]) -> list[str]:
        return [self._limit_key(limit.key) for limit in limits]


def told_of(limits: Sequence[Limit]) -> list[str | int]:
    """Return what the scripts read of limits, besides their keys."""
    return [
        part
        for limit in limits
        for part in (limit.count, ms(limit.per_s), "1" if limit.is_dormant else "")
    ]
