"""A store that is away, or is given a bad address, says so; and is used again when it is back."""

import os
import shutil
import socketserver
import sqlite3
import stat
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from sqlalchemy import event, inspect, text

from tests import servers
from tests.integration.store_place import FakeClock, StorePlace, envelope, wait_for_postgresql
from tests.servers import wait_for
from worker.store import (
    Claimed,
    Lease,
    Reason,
    StoreError,
    StoreSchemaError,
    StoreUnavailableError,
    open_store,
    schema,
)
from worker.store.sql import SqlStore

LEASE = Lease("task1", "me", 1)
EVERY_CALL = {
    "prepare": lambda store: store.prepare(),
    "check": lambda store: store.check(),
    "claim": lambda store: store.claim("task1", owner="me", lease_s=1, envelope=envelope()),
    "claim again": lambda store: store.claim("task1", owner="me", lease_s=1, envelope=None),
    "renew": lambda store: store.renew([LEASE], lease_s=1),
    "keep_answer": lambda store: store.keep_answer(LEASE, "answer"),
    "release": lambda store: store.release(LEASE, due_in_s=0),
    "finish": lambda store: store.finish(LEASE, "SUCCESS"),
    "miss": lambda store: store.miss(
        LEASE, state="FLAGGED", reason=Reason.THROTTLED, errcode=None, detail=""
    ),
    "due": lambda store: store.due(limit=1, hold_s=1),
    "missed": lambda store: store.missed(),
    "find_missed": lambda store: store.find_missed("x"),
    "prune": lambda store: store.prune(),
}


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "postgres"])
def test_every_call_on_an_unreachable_server_says_so_without_the_password(scheme, call):
    port = servers.free_port()
    store = open_store(f"{scheme}://someone:SECRET@127.0.0.1:{port}/1")

    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{port}") as caught:
        EVERY_CALL[call](store)

    assert "SECRET" not in f"{caught.value} {caught.value.__cause__} {store!r}"
    store.close()


@pytest.mark.parametrize("call", EVERY_CALL)
def test_every_call_on_a_file_that_cannot_be_opened_says_so(tmp_path, call):
    (tmp_path / "store.db").mkdir()
    store = open_store(f"sqlite:///{tmp_path}/store.db")

    with pytest.raises(StoreUnavailableError, match=r"store\.db"):
        EVERY_CALL[call](store)


def said(url: str) -> str:
    """Return what a store says instead of its missed replies."""
    store = open_store(url)
    with pytest.raises(StoreError) as caught:
        store.missed()
    store.close()
    assert "SECRET" not in f"{caught.value}"
    assert not str(caught.value).endswith(".")
    return str(caught.value)


REFUSED = "refused the login; correct user and password in STORE_URL, or the add-on's variable"


def test_a_wrong_password_is_called_one(redis_url, postgresql_url):
    at = redis_url.partition("://")[2]
    assert said(f"redis://nobody:SECRET@{at}").endswith(REFUSED)
    assert said(postgresql_url.replace("test@", "nobody:SECRET@")).endswith(REFUSED)
    with refusing_postgresql() as port:
        assert said(f"postgresql://me:SECRET@127.0.0.1:{port}/db").endswith(REFUSED)


@contextmanager
def refusing_postgresql() -> Iterator[int]:
    """Answer as PostgreSQL does to a wrong password; ours trusts everybody."""
    told = b'SFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while len(first := self.request.recv(1024)) == 8:  # asks for TLS, or GSS
                self.request.sendall(b"N")
            if first:
                self.request.sendall(b"E" + struct.pack("!i", len(told) + 4) + told)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_file_that_is_no_database_is_called_so(tmp_path):
    (tmp_path / "notes.txt").write_text("this is no database\n" * 100)
    assert said(f"sqlite:///{tmp_path}/notes.txt") == (
        f"store sqlite in {tmp_path}/notes.txt is no SQLite database; name another file in "
        "STORE_URL"
    )


def test_a_number_that_redis_has_no_database_for_is_called_so(redis_url):
    words = said(f"{redis_url.rpartition('/')[0]}/9999")
    assert words.endswith("has no database of this number; correct the end of STORE_URL")


def test_the_drivers_full_stop_is_left_out():
    assert said(f"redis://127.0.0.1:{servers.free_port()}").endswith("Connection refused")


def test_a_redis_that_comes_back_is_used_again(tmp_path):
    port = servers.free_port()
    with servers.redis(tmp_path, port) as url:
        store = open_store(url)
        store.prepare()
        claim = store.claim("task1", owner="me", lease_s=600, envelope=envelope())
    assert isinstance(claim, Claimed)
    with pytest.raises(StoreUnavailableError):
        store.keep_answer(claim.lease, "answer")

    with servers.redis(tmp_path, port):
        store.keep_answer(claim.lease, "answer")
        store.finish(claim.lease, "SUCCESS")
        store.close()


def test_a_killed_postgresql_is_unavailable(tmp_path):
    server = servers.Restartable("postgresql", tmp_path / "server")
    url = server.start()
    try:
        wait_for_postgresql(url)
        with closing(open_store(url)) as store:
            store.prepare()
            server.kill()
            with pytest.raises(StoreUnavailableError, match="postgresql at 127"):
                store.due(limit=1, hold_s=1)
    finally:
        server.stop()


def test_connections_that_postgresql_closed_are_replaced_unnoticed(postgresql_url):
    name = f"celery-dingtalk-{os.getpid()}"
    store = open_store(f"{postgresql_url}?application_name={name}")
    store.prepare()
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [name],
        ).fetchall()
    assert ended

    store.check()
    store.close()


def test_connections_that_redis_closed_are_replaced_unnoticed(redis_url):
    store = open_store(redis_url)
    store.check()
    with Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)

    store.check()
    store.close()


def test_a_redis_that_takes_no_more_writes_is_unavailable(tmp_path):
    with servers.redis(tmp_path) as url:
        with Redis.from_url(url) as client:
            client.config_set("maxmemory", 1)
        store = open_store(url)

        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            store.claim("task1", owner="me", lease_s=1, envelope=envelope())
        store.close()


def _cannot_save(client: Redis, folder: Path) -> str:
    """What a full disk does."""
    client.config_set("save", "3600 1")
    client.config_set("stop-writes-on-bgsave-error", "yes")
    client.set("any", "change")
    shutil.rmtree(folder)
    client.bgsave()
    wait_for(
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
        what="a save to fail",
    )
    return "MISCONF"


def _has_no_replicas(client: Redis, _: Path) -> str:
    client.config_set("min-replicas-to-write", 1)
    return "NOREPLICAS"


def _is_a_replica(client: Redis, _: Path) -> str:
    client.replicaof("127.0.0.1", str(servers.free_port()))
    return "read only replica"


@pytest.mark.parametrize("fault", [_cannot_save, _has_no_replicas, _is_a_replica])
def test_a_redis_that_takes_no_writes_for_now_is_unavailable(tmp_path, fault):
    folder = tmp_path / "redis"
    folder.mkdir()
    with servers.redis(folder) as url:
        store = open_store(url)
        store.prepare()
        claim = store.claim("task1", owner="me", lease_s=600, envelope=envelope())
        assert isinstance(claim, Claimed)
        with Redis.from_url(url) as client:
            said = fault(client, folder)

        with pytest.raises(StoreUnavailableError, match=said):
            store.keep_answer(claim.lease, "answer")
        with pytest.raises(StoreUnavailableError, match=said):
            store.finish(claim.lease, "SUCCESS")
        store.close()
        with Redis.from_url(url) as client:
            client.config_set("save", "")  # or it would not end before it has saved


def test_a_postgresql_that_only_reads_is_unavailable_until_it_writes_again(tmp_path):
    """As after a failover, whose connections reach what is a standby now."""
    with servers.postgresql(tmp_path) as url:
        wait_for_postgresql(url)
        store = open_store(url)
        store.prepare()
        claim = store.claim("task1", owner="me", lease_s=600, envelope=envelope())
        assert isinstance(claim, Claimed)
        store.close()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER ROLE ALL SET default_transaction_read_only = on")

            with pytest.raises(StoreUnavailableError, match="read-only transaction"):
                store.keep_answer(claim.lease, "answer")
            connection.execute("ALTER ROLE ALL SET default_transaction_read_only = off")

        store.keep_answer(claim.lease, "answer")
        store.close()


@pytest.mark.parametrize("store_place", ["postgresql", "sqlite"], indirect=True)
@pytest.mark.parametrize("call", [name for name in EVERY_CALL if name != "prepare"])
def test_a_database_that_was_never_prepared_says_what_to_do(store_place, call):
    store = store_place.open()

    with pytest.raises(StoreSchemaError, match="no tables yet; `release` in the Procfile"):
        EVERY_CALL[call](store)

    store.close()


def test_rediss_works_with_the_self_signed_certificates_of_platforms(tmp_path):
    with servers.redis_with_tls(tmp_path, "SECRET") as url:
        trusting = open_store(url)
        trusting.check()
        also_trusting = open_store(f"{url}?ssl_cert_reqs=CERT_NONE")
        also_trusting.check()
        for wanted in ("required", "CERT_REQUIRED"):
            careful = open_store(f"{url}?ssl_cert_reqs={wanted}")
            with pytest.raises(StoreUnavailableError, match=r"(?i)certificate"):
                careful.check()
            careful.close()
        anonymous = open_store(url.replace("SECRET", "WRONG"))
        with pytest.raises(StoreUnavailableError, match=r"(?i)password") as caught:
            anonymous.check()
        assert "WRONG" not in f"{caught.value} {caught.value.__cause__}"
        for store in (trusting, also_trusting, anonymous):
            store.close()


def _accepts(store) -> bool:
    try:
        store.check()
    except StoreUnavailableError:
        return False
    return True


# What SQLite is told.


def test_only_the_owner_may_read_the_sqlite_files(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/new/store.db")
    store.prepare()

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new").iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    store.close()


def test_a_writer_on_the_same_file_is_waited_for(tmp_path):
    """Another program may hold the file, for a backup say."""
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(EVERY_CALL["claim"], store)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)

        other.execute("ROLLBACK")

        assert isinstance(waiting.result(60), Claimed)
    other.close()
    store.close()


def test_readers_of_the_sqlite_file_do_not_stop_writers(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM dingtalk_messages").fetchone() == (0,)

    assert isinstance(EVERY_CALL["claim"](store), Claimed)

    other.close()
    store.close()


def test_a_file_locked_for_too_long_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.store.database.WAIT_S", 0.2)
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailableError, match="database is locked"):
        store.claim("task1", owner="me", lease_s=1, envelope=envelope())

    other.execute("ROLLBACK")
    other.close()
    claim = store.claim("task1", owner="me", lease_s=1, envelope=envelope())
    assert isinstance(claim, Claimed)
    store.close()


# The schema, and the price of a write.


@pytest.mark.parametrize("store_place", ["postgresql", "sqlite"], indirect=True)
def test_an_older_schema_is_brought_up_by_the_missing_steps_only(store_place, monkeypatch):
    store = store_place.open()
    assert isinstance(store, SqlStore)
    store.prepare()

    step = ("ALTER TABLE dingtalk_messages ADD COLUMN mood TEXT",)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, step))
    store.prepare()
    store.prepare()

    with store._database.engine.connect() as connection:
        connection.execute(text("SELECT mood FROM dingtalk_messages"))
    monkeypatch.undo()
    known = len(schema.STEPS)
    too_new = f"schema version {known + 1}, this release knows up to {known}"
    with pytest.raises(StoreSchemaError, match=too_new):
        store.prepare()
    store.close()


def test_what_is_done_most_is_one_statement(postgresql_url):
    store = open_store(postgresql_url, clock_ms=FakeClock())
    assert isinstance(store, SqlStore)
    store.prepare()
    first = store.claim("one", owner="me", lease_s=9, envelope=envelope())
    assert isinstance(first, Claimed)
    statements: list[str] = []
    event.listen(
        store._database.engine, "before_cursor_execute", lambda *a: statements.append(a[2])
    )

    store.renew([first.lease], lease_s=9)
    store.keep_answer(first.lease, "answer")
    store.sending(first.lease, sent=0)
    store.release(first.lease, due_in_s=1)

    assert len(statements) == 4
    store.close()


@pytest.mark.parametrize("store_place", ["postgresql", "sqlite"], indirect=True)
def test_a_store_of_the_first_release_is_brought_up(store_place):
    """Its tables are those a fresh one gets, and what was in them goes on."""
    store = store_place.open()
    assert isinstance(store, SqlStore)
    with store._database.transaction() as connection:
        for statement in (
            *schema.STEPS[0],
            "CREATE TABLE dingtalk_schema (version INTEGER NOT NULL)",
            "INSERT INTO dingtalk_schema VALUES (1)",
            "INSERT INTO dingtalk_messages"
            " (task_id, message_id, state, token, not_before, due_at, attempts, takeovers,"
            " envelope) VALUES ('old', 'msg1', 'waiting', 7, 0, 0, 2, 1,"
            ' \'{"message_id":"msg1"}\')',
        ):
            connection.exec_driver_sql(statement)

    store.prepare()

    claimed = store.claim("old", owner="me", lease_s=9, envelope=None)
    assert isinstance(claimed, Claimed)
    assert (claimed.lease.token, claimed.attempts, claimed.takeovers) == (8, 2, 1)
    with store._database.engine.connect() as connection:
        there = {column["name"] for column in inspect(connection).get_columns("dingtalk_messages")}
    assert there == {column.name for column in schema.messages.columns}
    store.close()


def test_postgresql_finds_what_is_due_by_its_index(postgresql_url):
    """With its own clock, which is a function that could forbid it."""
    store = open_store(postgresql_url)
    assert isinstance(store, SqlStore)
    store.prepare()
    statements: list[tuple[str, dict[str, object]]] = []
    event.listen(
        store._database.engine,
        "before_cursor_execute",
        lambda *a: statements.append((a[2], a[3])) if "dingtalk_messages" in a[2] else None,
    )
    store.due(limit=1, hold_s=1)
    store.prune()
    store.close()

    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        plans = []
        for statement, values in statements:
            rows = connection.execute(f"EXPLAIN {statement}", values).fetchall()
            plans.append("\n".join(row[0] for row in rows))

    assert "dingtalk_messages_due" in plans[0]
    assert "Index Cond: (due_at <=" in plans[0]
    # Between them what was due is put off, if there was any.
    assert "dingtalk_messages_route" in plans[-2]
    assert "dingtalk_messages_expiry" in plans[-1]


def test_what_went_wrong_inside_is_told_without_what_was_written(tmp_path):
    place = StorePlace(f"sqlite:///{tmp_path}/store.db")
    store = place.open()
    store.prepare()
    with sqlite3.connect(tmp_path / "store.db") as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON dingtalk_messages "
            "BEGIN SELECT RAISE(ABORT, 'PRIVATE'); END"
        )
    other.close()

    with pytest.raises(StoreError, match="IntegrityError") as caught:
        store.claim("task1", owner="me", lease_s=1, envelope=envelope(text="PRIVATE"))

    assert "PRIVATE" not in f"{caught.value}"
    assert caught.value.__suppress_context__
    store.close()
