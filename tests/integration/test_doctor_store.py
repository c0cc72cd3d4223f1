"""Stores on servers: what the doctor sees of them, and leaves as it is."""

import uuid

import psycopg
import pytest

from contract.checks import Status
from tests.integration.doctor_place import MARK
from tests.integration.store_place import wait_for_postgresql
from worker.doctor.remembered import check_missed, check_store
from worker.store import open_store


@pytest.fixture
def schema(postgresql_url: str) -> str:
    """A PostgreSQL where nobody has made tables yet."""
    wait_for_postgresql(postgresql_url)
    name = f"doctor{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{postgresql_url}?options=-csearch_path%3D{name}"


def test_a_database_without_tables_is_left_without(schema):
    store = open_store(schema)
    missing = [check_store(store, schema) for _ in range(2)]
    store.prepare()
    there = check_store(store, schema)
    store.close()

    assert {check.status for check in missing} == {Status.FAIL}
    assert "has no tables yet" in missing[0].reason
    assert "python -m worker.release" in missing[0].fix
    assert (there.status, there.reason) == (Status.OK, "PostgreSQL: written to and read from")


def test_a_redis_is_written_to_and_read_from_and_holds_no_key_more(redis_url):
    url = f"{redis_url.rpartition('/')[0]}/12"
    store = open_store(url)
    check = check_store(store, url)
    missed = check_missed(store)
    store.close()

    assert (check.status, check.reason) == (Status.OK, "Redis: written to and read from")
    assert missed.status is Status.OK


def test_a_wrong_password_of_the_store_is_said_and_not_shown(redis_url, postgresql_url):
    at = redis_url.partition("://")[2]
    for url in (f"redis://nobody:{MARK}@{at}",
                postgresql_url.replace("test@", f"nobody:{MARK}@")):  # fmt: skip
        store = open_store(url)
        check = check_store(store, url)
        store.close()
        assert check.status is Status.FAIL
        assert "127.0.0.1" in check.reason
        assert check.fix.startswith("correct user and password in STORE_URL")
        assert MARK not in f"{check}"
