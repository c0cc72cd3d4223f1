"""Fixtures of the integration tests."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.store_place import FakeClock, StorePlace, wait_for_postgresql
from worker.store import Store


@pytest.fixture(scope="session")
def postgresql_url(postgresql_url: str) -> str:
    """The shared one, once it takes connections."""
    wait_for_postgresql(postgresql_url)
    return postgresql_url


@pytest.fixture(params=["redis", "postgresql", "sqlite"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    """An empty store, in each kind of database."""
    name = f"test{uuid.uuid4().hex}"
    if request.param == "sqlite":
        return StorePlace(f"sqlite:///{tmp_path}/data/store.db")
    if request.param == "redis":
        return StorePlace(request.getfixturevalue("redis_url"), f"{name}:")
    url = request.getfixturevalue("postgresql_url")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return StorePlace(f"{url}?options=-csearch_path%3D{name}")


@pytest.fixture
def clock() -> FakeClock:
    """The clock of ``store``."""
    return FakeClock()


@pytest.fixture
def store(store_place: StorePlace, clock: FakeClock) -> Iterator[Store]:
    """An open store whose time passes when it is told to."""
    store = store_place.open(clock_ms=clock)
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def sql_places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], StorePlace]:
    """Return an empty store in the SQL database of this kind."""

    def place(kind: str) -> StorePlace:
        if kind == "sqlite":
            return StorePlace(f"sqlite:///{tmp_path}/data/store.db")
        url, name = request.getfixturevalue("postgresql_url"), f"test{uuid.uuid4().hex}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return StorePlace(f"{url}?options=-csearch_path%3D{name}")

    return place
