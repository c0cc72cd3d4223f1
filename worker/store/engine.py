"""How ``sql.py`` reaches its database: the URL, the pool, and what SQLite has to be told.

Threads share a few connections and wait for one rather than fail: hosted databases of the small
plans allow about twenty in all.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from worker.store.base import StoreError

__all__ = ["make_engine", "name_of", "parse_url"]

WAIT_S = 30


def parse_url(url: str) -> URL:
    """Read a store URL as platforms write it.

    Raises:
        StoreError: It is none, or names no file or no server.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The cause would show the URL and with it the password.
        raise StoreError("store URL cannot be read; is its password percent-encoded?") from None
    if parsed.drivername == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise StoreError("store URL sqlite:// names no file; write sqlite:///folder/store.db")
        return parsed
    return parsed.set(drivername="postgresql+psycopg")


def name_of(url: URL) -> str:
    """Return how the store is called in errors and logs."""
    if url.drivername == "sqlite":
        return f"sqlite in {url.database}"
    return f"postgresql at {url.host or 'local socket'}:{url.port or 5432}"


def make_engine(url: URL) -> Engine:
    """Return an engine; nothing is connected to yet."""
    # Parameters hold what people wrote, so errors and logs must not show them.
    if url.drivername == "sqlite":
        return _sqlite(url)
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 20_000,
        "application_name": "celery-dingtalk",
    }
    options = {key: value for key, value in defaults.items() if key not in url.query}
    return create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=2,
        pool_timeout=WAIT_S,
        pool_recycle=1800,
        # Prepared statements do not survive a pooler such as PgBouncer between us and the server.
        connect_args={**options, "prepare_threshold": None},
    )


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
        # SQLite gives its side files the mode of this one.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))

    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin says
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


def _begin(connection: Connection) -> None:
    # A transaction that starts as a reader and then writes is refused without waiting.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
