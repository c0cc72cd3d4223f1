"""The tables of ``sql.py``, and how they come to be.

Times are epoch milliseconds. A record is ``running`` (leased), ``waiting`` (given back), ``done``
or ``missed``; ``due_at`` is set while it is unfinished, ``not_before`` while it waits and
``expires_at`` when it is finished.
"""

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from worker.store.base import StoreSchemaError

__all__ = ["DONE", "MISSED", "RUNNING", "WAITING", "messages", "prepare"]

RUNNING, WAITING, DONE, MISSED = "running", "waiting", "done", "missed"

# Any number will do, as long as nothing else in the same database uses it.
_LOCK = 0x64_69_6E_67

metadata = MetaData()

messages = Table(
    "dingtalk_messages",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("message_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("owner", String),
    Column("lease_until", BigInteger),
    Column("due_at", BigInteger),
    Column("not_before", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("takeovers", Integer, nullable=False),
    Column("envelope", Text),
    Column("answer", Text),
    Column("outcome", String),
    Column("facts", Text),
    Column("missed_at", BigInteger),
    Column("expires_at", BigInteger),
)


def _index(name: str, column: Column[object], only: Column[object]) -> None:
    """Index the few records that have ``only``; most have not."""
    there = only.is_not(None)
    Index(f"dingtalk_messages_{name}", column, sqlite_where=there, postgresql_where=there)


_index("due", messages.c.due_at, messages.c.due_at)
_index("missed", messages.c.missed_at, messages.c.missed_at)
_index("missed_id", messages.c.message_id, messages.c.missed_at)
_index("expiry", messages.c.expires_at, messages.c.expires_at)

_schema = Table("dingtalk_schema", metadata, Column("version", Integer, nullable=False))


def _create(connection: Connection) -> None:
    messages.create(connection)


# The step at index n leads from version n to n + 1. A released step is never changed; when the
# tables change, this one has to spell out those of its own time.
STEPS: tuple[Callable[[Connection], None], ...] = (_create,)


def prepare(connection: Connection) -> None:
    """Bring the tables to this code's version, in the caller's transaction.

    Raises:
        StoreSchemaError: They are of a later version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = _version(connection)
    if version > len(STEPS):
        raise StoreSchemaError(
            f"store has schema version {version}, this release knows up to {len(STEPS)}: "
            "deploy the newer release"
        )
    for step in STEPS[version:]:
        step(connection)
    if version < len(STEPS):
        connection.execute(update(_schema).values(version=len(STEPS)))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(_schema.name):
        _schema.create(connection)
        connection.execute(insert(_schema).values(version=0))
    return int(connection.execute(select(_schema.c.version)).scalar_one())
