"""A release that knows no lanes works on the same store while this one is being deployed."""

import uuid

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.integration.store_place import StorePlace, envelope
from worker.store import Claimed, Parked, Turn
from worker.store.database import _parse


@pytest.fixture(params=["postgresql", "sqlite"])
def sql_place(request, tmp_path) -> StorePlace:
    if request.param == "sqlite":
        return StorePlace(f"sqlite:///{tmp_path}/data/store.db")
    url, name = request.getfixturevalue("postgresql_url"), f"test{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return StorePlace(f"{url}?options=-csearch_path%3D{name}")


def finish_as_before(place: StorePlace, task_id: str) -> None:
    """Write what the release before lanes wrote: it takes no record out of its lane."""
    engine = create_engine(_parse(place.url))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE dingtalk_messages SET state = 'done', outcome = 'SUCCESS', owner = NULL,"
                " lease_until = NULL, due_at = NULL, envelope = NULL WHERE task_id = :id"
            ),
            {"id": task_id},
        )
    engine.dispose()


def test_what_it_finished_does_not_hold_the_turn(sql_place):
    store = sql_place.open()
    store.prepare()

    def claim(number: int) -> object:
        return store.claim(
            f"task{number}",
            owner="me",
            lease_s=15,
            envelope=envelope(number),
            turn=Turn("lane1", (number, number)),
        )

    assert isinstance(claim(1), Claimed)
    assert claim(2) == Parked()

    finish_as_before(sql_place, "task1")

    assert isinstance(claim(2), Claimed)
    store.close()
