"""Messages as a store sees them, from the first claim to the end; and very many finished ones.

Used by ``bench/store_growth.py`` and the tests of a store's size. Many are made by copying what the
real steps have left of one, with other ids of the same length.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, MetaData, String, Table, Text, func, insert, literal, select, true
from sqlalchemy.sql.elements import ColumnElement

from contract.envelope import Conversation, Envelope
from contract.routing import task_id
from dingwire.replies import Text as TextReply
from dingwire.replies import replies_to_json
from worker.outcome import FinalState, Outcome
from worker.store import Claimed, Exchange, Kept, Limit, Scope, Step, Store
from worker.store.records import conversation_key
from worker.store.redis import RedisStore
from worker.store.schema import metadata
from worker.store.sql import SqlStore
from worker.story import agent_steps, beginning
from worker.turns import Turns

__all__ = ["BOT", "Said", "fill", "finish", "said"]

BOT = "dingkx4v9qm2rwlz8t3p"
_LEASE_S = 15.0
_BATCH = 5_000


@dataclass(frozen=True)
class Said:
    """One message: its envelope, and the ids by which its records are told from those of others."""

    envelope: Envelope
    task_id: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Return what is another one in each message: each text of a length of its own."""
        conversation_id = self.envelope.conversation_id
        return (
            self.task_id,
            self.envelope.message_id,
            conversation_id,
            conversation_key(BOT, conversation_id),
        )


def _id(kind: str, number: int, length: int) -> str:
    digest = hashlib.sha256(f"{kind}{number}".encode()).digest()
    return base64.b64encode(digest).decode()[:length].replace("/", "_").replace("+", "-") + "=="


def said(conversation: int, number: int = 0, *, now: datetime | None = None) -> Said:
    """Return message ``number`` of a conversation, of the size that DingTalk's messages have."""
    now = now or datetime.now(UTC)
    message_id = f"msg{_id('message', conversation * 1_000_003 + number, 22)}"
    session = hashlib.md5(message_id.encode()).hexdigest()
    envelope = Envelope(
        bot=BOT,
        client_id="dinga1b2c3d4e5f6g7h8",
        message_id=message_id,
        push_id=f"{session[:8]}_0_0_1f_{session[8:16]}",
        conversation_id=f"cid{_id('conversation', conversation, 22)}",
        conversation=Conversation.PRIVATE,
        sender_id=f"$:LWCP_v1:${_id('sender', 1, 32)}",
        sender_staff_id="manager4220",
        sender_nick="李雷",
        text="When does the canteen open tomorrow, and is there anything without meat?",
        session_webhook=f"https://oapi.dingtalk.com/robot/sendBySession?session={session}",
        webhook_expires_at=now + timedelta(minutes=90),
        deadline=now + timedelta(minutes=90, seconds=-15),
        created_at=now,
        received_at=now + timedelta(milliseconds=40),
        enqueued_at=now + timedelta(milliseconds=41),
        clock_offset_s=0.013,
    )
    return Said(envelope, task_id(BOT, message_id))


def finish(store: Store, message: Said, *, remembers: bool = False) -> None:
    """Bring a message to its end by the steps that a worker takes.

    Args:
        store: Where.
        message: A new one.
        remembers: Whether what was said becomes part of a memory.
    """
    envelope, turns = message.envelope, Turns()
    data = envelope.to_wire()
    claimed = store.claim(
        message.task_id,
        owner="worker@4c1f2a77-b2d9:1234",
        lease_s=_LEASE_S,
        envelope=data,
        turn=turns.of(data),
        written=turns.place_of(data),
        steps=beginning(data, envelope.received_at + timedelta(milliseconds=3)),
    )
    assert isinstance(claimed, Claimed)
    answer = replies_to_json([TextReply(content="It opens at half past eleven. " * 5)])
    exchange = None
    if remembers:
        scope = Scope(BOT, envelope.conversation_id)
        place = turns.place_of(data) or (0, 0)
        turn = {"text": envelope.text, "answer": answer}
        exchange = Exchange(scope, envelope.sender_id, place, turn, turns=20, ttl_s=86_400)
    kept = Kept(answer, agent_steps(1.734, "answered"), exchange)
    key = f"webhook {conversation_key(BOT, envelope.conversation_id)}"
    sending = Step("sending", {"part": 1, "of": 1, "route": "webhook"})
    limits = [Limit(key, 20, 60, is_dormant=True)]
    store.sending(claimed.lease, sent=0, steps=[sending], limits=limits, kept=kept)
    facts = {"outcome": "on_time", "attempts": 1, "post_s": 0.113, "spare_s": 5383.147}
    outcome = Outcome(FinalState.SUCCESS, facts=facts)
    store.finish(claimed.lease, FinalState.SUCCESS, [outcome.step])


def fill(
    store: Store,
    count: int,
    *,
    first: int = 0,
    remembers: bool = False,
    now: datetime | None = None,
) -> None:
    """Have ``count`` conversations more, each with a finished message.

    Args:
        store: Where.
        count: How many.
        first: Number of the first of them, as in :func:`said`.
        remembers: As in :func:`finish`.
        now: When they were written; just now without.
    """
    now = now or datetime.now(UTC)
    template = said(first, now=now)
    finish(store, template, remembers=remembers)
    others = [said(number, now=now).ids for number in range(first + 1, first + count)]
    if isinstance(store, RedisStore):
        _copy_keys(store, template.ids, others)
    elif isinstance(store, SqlStore):
        _copy_rows(store, template.ids, others)


def _batches(others: Sequence[tuple[str, ...]]) -> Iterator[Sequence[tuple[str, ...]]]:
    return (others[at : at + _BATCH] for at in range(0, len(others), _BATCH))


# KEYS: those of one message. ARGV: how many ids, its ids, then those of each copy. A text is cut
# where an id stands, once, as replacing is slow.
_COPY = """
local n = tonumber(ARGV[1])
local function cut(text)
  local pieces, at = {}, 1
  while true do
    local first, last, which
    for i = 1, n do
      local from, to = string.find(text, ARGV[1 + i], at, true)
      if from and (not first or from < first) then first, last, which = from, to, i end
    end
    if not first then break end
    table.insert(pieces, string.sub(text, at, first - 1))
    table.insert(pieces, which)
    at = last + 1
  end
  table.insert(pieces, string.sub(text, at))
  return pieces
end
local function join(pieces, at)
  local found = {}
  for i, piece in ipairs(pieces) do
    found[i] = type(piece) == 'number' and ARGV[at + piece] or piece
  end
  return table.concat(found)
end
for _, key in ipairs(KEYS) do
  local kind, ttl, found = redis.call('TYPE', key).ok, redis.call('PTTL', key), {}
  if kind == 'hash' then found = redis.call('HGETALL', key)
  elseif kind == 'set' then found = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then
    local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #members, 2 do
      table.insert(found, members[i + 1])
      table.insert(found, members[i])
    end
  end
  local write = ({hash = 'HSET', zset = 'ZADD', set = 'SADD'})[kind]
  local name, cuts = cut(key), {}
  for i, value in ipairs(found) do cuts[i] = cut(value) end
  for at = n + 1, #ARGV - n, n do
    local values = {}
    for i, pieces in ipairs(cuts) do values[i] = join(pieces, at) end
    local copy = join(name, at)
    redis.call(write, copy, unpack(values))
    if ttl > 0 then redis.call('PEXPIRE', copy, ttl) end
  end
end
"""


def _copy_keys(store: RedisStore, ids: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> None:
    redis: Any = store._redis
    keys = [key for key in redis.scan_iter(f"{store._prefix}*") if any(id_ in key for id_ in ids)]
    for batch in _batches(others):
        flat = [id_ for each in batch for id_ in each]
        redis.eval(_COPY, len(keys), *keys, len(ids), *ids, *flat)


def _copy_rows(store: SqlStore, ids: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> None:
    names = [f"id{n}" for n in range(len(ids))]
    copies = Table(
        "copies", MetaData(), *(Column(name, String) for name in names), prefixes=["TEMPORARY"]
    )
    with store._database.transaction() as connection:
        copies.create(connection)
        for batch in _batches(others):
            connection.execute(
                insert(copies), [dict(zip(names, each, strict=True)) for each in batch]
            )
        for table in metadata.sorted_tables:
            first = table.columns.get("task_id")
            if first is None:
                continue
            values = [_with_ids(column, ids, list(copies.c)) for column in table.columns]
            source = select(*values).select_from(table.join(copies, true())).where(first == ids[0])
            connection.execute(insert(table).from_select([c.name for c in table.columns], source))
        copies.drop(connection)


def _with_ids(
    column: Column[Any], ids: tuple[str, ...], copies: Sequence[Column[Any]]
) -> ColumnElement[Any]:
    if not isinstance(column.type, String | Text):
        return column
    value: ColumnElement[Any] = column
    for id_, copy in zip(ids, copies, strict=True):
        value = func.replace(value, literal(id_), copy)
    return value
