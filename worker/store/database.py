"""How ``sql.py`` reaches its database: URL, pool, clock, errors, and what SQLite has to be told.

Threads share a few connections and wait for one rather than fail: hosted databases of the small
plans allow about twenty in all.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import POLLIN, poll
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    cast,
    create_engine,
    event,
    extract,
    func,
    make_url,
    select,
)
from sqlalchemy import exc as sql_errors

from worker.store.base import StoreError, StoreSchemaError, StoreUnavailableError

__all__ = ["Database"]

WAIT_S = 30

# A connection that nobody has used for so long is asked whether it still is one: what stands
# between us and the server may have forgotten it.
IDLE_S = 25

# A statement that one connection has run so often is prepared.
_OFTEN = 5

_READ_ONLY = "25006"

# Of a statement without parameters: a % in it is one.
_AS_IT_IS: dict[str, Any] = {"execution_options": {"no_parameters": True}}


class Database:
    """A pool of connections to the database at ``url``; nothing is connected to yet.

    Its name is for errors and logs; the clock is that of the server, for SQLite this machine's.
    """

    def __init__(self, url: str, clock_ms: Callable[[], int] | None) -> None:
        parsed = _parse(url)
        self.name = _name(parsed)
        self.engine = _engine(parsed)
        self.is_sqlite = parsed.drivername == "sqlite"
        if self.is_sqlite:
            clock_ms = clock_ms or _this_machine_ms
        self._now = _now(clock_ms)

    def now(self) -> ColumnElement[int]:
        """Return the time in epoch ms at which a statement runs, as part of it."""
        return self._now

    @contextmanager
    def one(self) -> Iterator[Connection]:
        """Connect for statements that are whole by themselves."""
        with self._errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def transaction(self, first: str = "") -> Iterator[Connection]:
        """Connect for statements that hold together.

        Args:
            first: A statement that runs in the same round trip as the beginning; what it returns is
                lost.
        """
        with self._errors(), self.engine.begin() as connection:
            # A transaction of SQLite that starts as a reader and then writes is refused without
            # waiting. What PostgreSQL reads after a lock was waited for must not be older than it.
            begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN ISOLATION LEVEL READ COMMITTED"
            connection.exec_driver_sql(f"{begin}; {first}" if first else begin, **_AS_IT_IS)
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sql_errors.TimeoutError as error:
            raise StoreUnavailableError(
                f"store {self.name} is too busy: no connection came free in {WAIT_S} s"
            ) from error
        except sql_errors.DBAPIError as error:
            if _is_missing_table(error):
                raise StoreSchemaError(
                    f"store {self.name} has no tables yet; `release` in the Procfile makes them"
                ) from None
            is_read_only = _state(error) == _READ_ONLY
            if is_read_only:
                # After a failover these connections may be to what is a standby now.
                self.engine.dispose()
            if (
                is_read_only
                or isinstance(error, sql_errors.OperationalError)
                or error.connection_invalidated
            ):
                why = _words(error)
                raise StoreUnavailableError(f"store {self.name} {why}") from error
            if "file is not a database" in str(error.orig):
                raise StoreError(
                    f"store {self.name} is no SQLite database; name another file in STORE_URL"
                ) from None
            # Its text may quote the record.
            raise StoreError(f"store {self.name} failed: {type(error.orig).__name__}") from None
        except OSError as error:
            raise StoreUnavailableError(
                f"store {self.name} cannot be used: {error.strerror}"
            ) from error


def _this_machine_ms() -> int:
    return time.time_ns() // 1_000_000


def _now(clock_ms: Callable[[], int] | None) -> ColumnElement[int]:
    if clock_ms is not None:
        return bindparam("now_ms", callable_=clock_ms, type_=BigInteger)
    # In a subselect it is read once a statement, which lets an index be used.
    epoch_s = extract("epoch", func.clock_timestamp())
    return select(cast(epoch_s * 1000, BigInteger)).scalar_subquery()


def _state(error: sql_errors.DBAPIError) -> str | None:
    """Return PostgreSQL's code of the error; psycopg's classes are too wide."""
    return getattr(error.orig, "sqlstate", None)


def _is_missing_table(error: sql_errors.DBAPIError) -> bool:
    return _state(error) == "42P01" or "no such table" in str(error.orig)


def _words(error: sql_errors.DBAPIError) -> str:
    """Return what goes on after the store's name."""
    why = str(error.orig).strip().split("\n")[0].rstrip(".")
    if any(each in why for each in ("authentication failed", "no password supplied", 'role "')):
        return "refused the login; correct user and password in STORE_URL, or the add-on's variable"
    return f"cannot be used: {why}"


def _parse(url: str) -> URL:
    """Read a store URL as platforms write it.

    Raises:
        StoreError: It is none, or names no file or no server.
    """
    try:
        parsed = make_url(url)
    except (sql_errors.ArgumentError, ValueError):
        # The cause would show the URL and with it the password.
        raise StoreError("store URL cannot be read; is its password percent-encoded?") from None
    if parsed.drivername == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise StoreError("store URL sqlite:// names no file; write sqlite:///folder/store.db")
        return parsed
    return parsed.set(drivername="postgresql+psycopg")


def _name(url: URL) -> str:
    if url.drivername == "sqlite":
        return f"sqlite in {url.database}"
    return f"postgresql at {url.host or 'local socket'}:{url.port or 5432}"


def _engine(url: URL) -> Engine:
    # Parameters hold what people wrote, so errors and logs must not show them.
    if url.drivername == "sqlite":
        return _sqlite(url)
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 20_000,
        "application_name": "celery-dingtalk",
    }
    options = {key: value for key, value in defaults.items() if key not in url.query}
    engine = create_engine(
        url,
        hide_parameters=True,
        # Transactions begin where Database.transaction says: the driver would spend a round trip.
        isolation_level="AUTOCOMMIT",
        pool_size=4,
        max_overflow=2,
        pool_timeout=WAIT_S,
        pool_recycle=1800,
        connect_args={**options, "prepare_threshold": None},
    )
    event.listen(engine, "connect", _prepare_statements)
    _look_before_use(engine)
    return engine


def _prepare_statements(driver: Any, _: object) -> None:
    """Have statements prepared that come often, which spares the server half of its work.

    Not by way of a pooler such as PgBouncer: behind it each transaction may meet another server
    process, which does not know them. Such a one makes up the process id that a client is told.
    """
    (server_pid,) = driver.execute("SELECT pg_backend_pid()").fetchone()
    if server_pid == driver.info.backend_pid:
        driver.prepare_threshold = _OFTEN


def _look_before_use(engine: Engine) -> None:
    """Replace a connection that the server has closed, before anything is sent by it.

    To ask the server each time, as ``pool_pre_ping`` does, is a round trip more for every step.
    What was closed has something to be read: the end.
    """

    @event.listens_for(engine, "checkin")
    def left(_: object, record: Any) -> None:
        record.info["left_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(driver: Any, record: Any, _: object) -> None:
        left_at = record.info.get("left_at")
        if left_at is None or (time.monotonic() - left_at < IDLE_S and not _has_news(driver)):
            return
        try:
            engine.dialect.do_ping(driver)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sql_errors.InvalidatePoolError from error


def _has_news(driver: Any) -> bool:
    sockets = poll()
    sockets.register(driver.fileno(), POLLIN)
    return bool(sockets.poll(0))


def _sqlite(url: URL) -> Engine:
    # One connection a process: writes take turns anyhow, and threads queue here in order, while
    # SQLite's own waiting is a sleep that may starve one of them.
    engine = create_engine(
        url, hide_parameters=True, pool_size=1, max_overflow=0, pool_timeout=WAIT_S
    )
    path = Path(str(url.database))

    @event.listens_for(engine, "do_connect")
    def make_private(*_: object) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its side files the mode of this one. A file that exists is left alone: to
        # open and close it here would drop the locks of this process's other connections to it,
        # and the next process to leave would then take their write-ahead log along.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where Database.transaction says
    connection.execute(f"PRAGMA busy_timeout = {WAIT_S * 1000}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; of several that try at once SQLite fails some without waiting."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
