"""A store whose time passes when somebody sleeps, for what processes keep to together."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.integration.store_place import FakeClock
from worker.store import StoreUnavailableError
from worker.store.sql import SqlStore

__all__ = ["AwayStore", "Shared", "opened"]


class Shared:
    """One store for several workers."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_ms / 1000, UTC)


class AwayStore:
    """Does not answer."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: object, **__: object) -> None:
            raise StoreUnavailableError("away")

        return call


@contextmanager
def opened(folder: Path) -> Iterator[Shared]:
    clock = FakeClock()
    with closing(SqlStore(f"sqlite:///{folder}/store.db", clock_ms=clock)) as store:
        store.prepare()
        yield Shared(store, clock)
