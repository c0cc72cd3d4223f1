"""The tables of ``sql.py``, and how they come to be.

Times are epoch milliseconds. A record is ``running`` (leased), ``waiting`` (given back), ``parked``
(before its turn), ``done`` or ``missed``; ``due_at`` is set while it is unfinished, ``not_before``
while it waits and ``expires_at`` when it is finished.

``lane`` is set while it is unfinished and has a place in one: by ``place_ms``, then ``place_us``,
then ``task_id``; the one with the turn has the place -1. ``after`` is who it waits for until
``wait_until``; ``merged`` the envelopes that became part of its turn. ``handed`` counts how often
it was handed out unclaimed, ``sent`` parts of the answer that arrived; ``in_doubt`` is 1 while the
next is posted; ``crowded`` is 1 when the lane was full. ``kept_for`` is the conversation whose next
webhook may carry the answer.

``steps`` is its story (see ``records.read_steps``), ``known_at`` when that began, ``claimed_at``
when it was claimed last and ``work_ms`` how long it took from then on. ``route`` leads to its
conversation until ``route_until``. ``rerun`` is 1 when an operator had it run anew, ``handled_at``
when one sent it after all, ``was`` the outcome of one that is taken to be sent. ``written_ms`` and
``written_us`` are its place in its conversation, of what can be stopped. ``said`` and ``said_in``
are what is to be remembered, and where, when its answer has arrived; see ``memory_records.py``.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
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

__all__ = [
    "DONE",
    "MISSED",
    "PARKED",
    "RUNNING",
    "WAITING",
    "exchanges",
    "messages",
    "notes",
    "prepare",
    "sweep",
]

RUNNING, WAITING, PARKED, DONE, MISSED = "running", "waiting", "parked", "done", "missed"

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
    # Since version 2.
    Column("lane", String),
    Column("place_ms", BigInteger),
    Column("place_us", BigInteger),
    Column("sender", String),
    Column("after", String),
    Column("wait_until", BigInteger),
    Column("merged", Text),
    Column("handed", Integer, nullable=False, server_default="0"),
    Column("sent", Integer, nullable=False, server_default="0"),
    Column("in_doubt", Integer, nullable=False, server_default="0"),
    Column("crowded", Integer, nullable=False, server_default="0"),
    Column("conversation", String),
    Column("kept_for", String),
    # Since version 3.
    Column("steps", Text, nullable=False, server_default=""),
    Column("conversation_id", String),
    Column("known_at", BigInteger),
    Column("claimed_at", BigInteger),
    Column("work_ms", BigInteger),
    Column("route", Text),
    Column("route_until", BigInteger),
    Column("rerun", Integer, nullable=False, server_default="0"),
    Column("handled_at", BigInteger),
    Column("was", String),
    # Since version 4.
    Column("written_ms", BigInteger),
    Column("written_us", BigInteger),
    # Since version 5.
    Column("said", Text),
    Column("said_in", Text),
)

# What was said, by the task of the question. ``scope`` is the memory, in the order of ``place_ms``
# and ``place_us``; ``conversation`` (the key of bot and conversation) and ``person`` (of who asked)
# are there to forget by. Since version 5.
exchanges = Table(
    "dingtalk_exchanges",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("scope", String, nullable=False),
    Column("conversation", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("person", String, nullable=False),
    Column("place_ms", BigInteger, nullable=False),
    Column("place_us", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
    Column("kept_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# What processes say of themselves, by kind and key, until it expires.
notes = Table(
    "dingtalk_notes",
    metadata,
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("facts", Text, nullable=False),
    Column("noted_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# One row: when somebody swept last (0: never), and until when nothing is taken over.
sweep = Table(
    "dingtalk_sweep",
    metadata,
    Column("swept_at", BigInteger, nullable=False),
    Column("grace_until", BigInteger, nullable=False),
)

_schema = Table("dingtalk_schema", metadata, Column("version", Integer, nullable=False))


# A released step is never changed, and so spells out the tables of its own time. Indexes cover the
# few records that have the value; most have not.
_VERSION_1 = (
    """CREATE TABLE dingtalk_messages (
      task_id VARCHAR NOT NULL PRIMARY KEY, message_id VARCHAR NOT NULL, state VARCHAR NOT NULL,
      token BIGINT NOT NULL, owner VARCHAR, lease_until BIGINT, due_at BIGINT, not_before BIGINT,
      attempts INTEGER NOT NULL, takeovers INTEGER NOT NULL, envelope TEXT, answer TEXT,
      outcome VARCHAR, facts TEXT, missed_at BIGINT, expires_at BIGINT)""",
    "CREATE INDEX dingtalk_messages_due ON dingtalk_messages (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX dingtalk_messages_missed ON dingtalk_messages (missed_at)"
    " WHERE missed_at IS NOT NULL",
    "CREATE INDEX dingtalk_messages_missed_id ON dingtalk_messages (message_id)"
    " WHERE missed_at IS NOT NULL",
    "CREATE INDEX dingtalk_messages_expiry ON dingtalk_messages (expires_at)"
    " WHERE expires_at IS NOT NULL",
)
_VERSION_2 = (
    *(
        f"ALTER TABLE dingtalk_messages ADD COLUMN {column}"
        for column in (
            "lane VARCHAR",
            "place_ms BIGINT",
            "place_us BIGINT",
            "sender VARCHAR",
            "after VARCHAR",
            "wait_until BIGINT",
            "merged TEXT",
            "handed INTEGER NOT NULL DEFAULT 0",
            "sent INTEGER NOT NULL DEFAULT 0",
            "in_doubt INTEGER NOT NULL DEFAULT 0",
            "crowded INTEGER NOT NULL DEFAULT 0",
            "conversation VARCHAR",
            "kept_for VARCHAR",
        )
    ),
    "CREATE TABLE dingtalk_sweep (swept_at BIGINT NOT NULL, grace_until BIGINT NOT NULL)",
    "INSERT INTO dingtalk_sweep VALUES (0, 0)",
    "CREATE INDEX dingtalk_messages_lane ON dingtalk_messages (lane, place_ms, place_us)"
    " WHERE lane IS NOT NULL",
    "CREATE INDEX dingtalk_messages_kept ON dingtalk_messages (kept_for)"
    " WHERE kept_for IS NOT NULL",
)

_VERSION_3 = (
    *(
        f"ALTER TABLE dingtalk_messages ADD COLUMN {column}"
        for column in (
            "steps TEXT NOT NULL DEFAULT ''",
            "conversation_id VARCHAR",
            "known_at BIGINT",
            "claimed_at BIGINT",
            "work_ms BIGINT",
            "route TEXT",
            "route_until BIGINT",
            "rerun INTEGER NOT NULL DEFAULT 0",
            "handled_at BIGINT",
            "was VARCHAR",
        )
    ),
    "DROP INDEX dingtalk_messages_missed_id",
    "CREATE INDEX dingtalk_messages_message_id ON dingtalk_messages (message_id)",
    "CREATE INDEX dingtalk_messages_conversation ON dingtalk_messages (conversation_id, known_at)"
    " WHERE conversation_id IS NOT NULL",
    "CREATE INDEX dingtalk_messages_route ON dingtalk_messages (route_until)"
    " WHERE route IS NOT NULL",
    """CREATE TABLE dingtalk_notes (
      kind VARCHAR NOT NULL, key VARCHAR NOT NULL, facts TEXT NOT NULL, noted_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL, PRIMARY KEY (kind, key))""",
)

_VERSION_4 = (
    "ALTER TABLE dingtalk_messages ADD COLUMN written_ms BIGINT",
    "ALTER TABLE dingtalk_messages ADD COLUMN written_us BIGINT",
)

_VERSION_5 = (
    "ALTER TABLE dingtalk_messages ADD COLUMN said TEXT",
    "ALTER TABLE dingtalk_messages ADD COLUMN said_in TEXT",
    """CREATE TABLE dingtalk_exchanges (
      task_id VARCHAR NOT NULL PRIMARY KEY, scope VARCHAR NOT NULL, conversation VARCHAR NOT NULL,
      conversation_id VARCHAR NOT NULL, person VARCHAR NOT NULL, place_ms BIGINT NOT NULL,
      place_us BIGINT NOT NULL, said TEXT NOT NULL, kept_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL)""",
    "CREATE INDEX dingtalk_exchanges_scope ON dingtalk_exchanges (scope, place_ms, place_us)",
    "CREATE INDEX dingtalk_exchanges_conversation ON dingtalk_exchanges (conversation_id)",
    "CREATE INDEX dingtalk_exchanges_expiry ON dingtalk_exchanges (expires_at)",
)

# Notes are many where limits are kept for each conversation, or people are told no once an hour.
_VERSION_6 = ("CREATE INDEX dingtalk_notes_expiry ON dingtalk_notes (expires_at)",)

# The step at index n leads from version n to n + 1.
STEPS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6)


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
        for statement in step:
            connection.execute(text(statement))
    if version < len(STEPS):
        connection.execute(update(_schema).values(version=len(STEPS)))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(_schema.name):
        _schema.create(connection)
        connection.execute(insert(_schema).values(version=0))
    return int(connection.execute(select(_schema.c.version)).scalar_one())
