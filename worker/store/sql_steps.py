"""The statements of a message's usual way in SQL, built once: that takes longer than to run them.

Used by ``sql.py``; it gives what differs from message to message as parameters, which are named
here by what they are, with ``its_`` before what is a column's name as well.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from worker.store.records import STORY_LIMIT
from worker.store.schema import DONE, MISSED, RUNNING, messages, notes
from worker.store.sql_turns import HAS_TURN, end_values

__all__ = ["Statements"]

_m, _n = messages.c, notes.c
_ENDS = (DONE, MISSED)


def _given(name: str, type_: Any = String) -> BindParameter[Any]:
    return bindparam(name, type_=type_)


class Statements:
    """Those of one store.

    ``take_new`` claims a message that nobody knows and that need not wait: nobody is in its lane,
    who was written before it is known, and its conversation was not stopped. It returns the token,
    and whether answers are kept in its conversation; no row when it is not so.

    ``keep``, ``post``, ``keep_and_post``, and the latter ``_unless`` one of the limits with the
    ``keys`` is awake, change the record of a lease, and no row when that is lost.

    ``finish`` returns what is to be remembered, and whether anybody else is in the lane; no row
    when the lease is lost.
    """

    def __init__(self, now: ColumnElement[int], *, is_sqlite: bool) -> None:
        """Build them; ``now`` is the time, as part of a statement."""
        self._now = now
        insert: Any = sqlite.insert if is_sqlite else postgresql.insert
        self.take_new = self._take_new(insert(messages))
        ours = update(messages).where(
            _m.task_id == _given("task"), _m.token == _given("lease", BigInteger),
            _m.state == RUNNING,
        )  # fmt: skip
        answer: dict[str, Any] = {
            "answer": _given("its_answer", Text),
            "attempts": 0,
            "said": func.coalesce(_given("its_said", Text), _m.said),
            "said_in": func.coalesce(_given("its_said_in", Text), _m.said_in),
        }
        posted: dict[str, Any] = {"sent": _given("its_sent", Integer), "in_doubt": 1}
        told = {"steps": self._longer_story()}
        self.keep = ours.values(**answer, **told)
        self.post = ours.values(**posted, **told)
        self.keep_and_post = ours.values(**answer, **posted, **told)
        is_awake = exists().where(
            _n.kind == "limit",
            _n.key.in_(bindparam("keys", expanding=True, type_=String)),
            _n.expires_at > now,
        )
        self.post_unless = self.post.where(~is_awake)
        self.keep_and_post_unless = self.keep_and_post.where(~is_awake)
        other = aliased(messages)
        is_followed = exists().where(
            other.c.lane == _given("its_lane"),
            other.c.task_id != _given("task"),
            other.c.state.not_in(_ENDS),
        )
        self.finish = ours.values(
            **end_values(),
            state=DONE,
            outcome=_given("its_outcome"),
            expires_at=now + _given("ttl_ms", BigInteger),
            missed_at=None,
            envelope=None,
            answer=None,
            merged=None,
            work_ms=case((_given("is_paced", Integer) == 1, now - _m.claimed_at), else_=null()),
            steps=_m.steps.concat(self._piece()),
        ).returning(_m.said, _m.said_in, is_followed.label("is_followed"))

    def _piece(self) -> ColumnElement[str]:
        """Return what a story goes on with; see ``records.read_steps``."""
        told = _given("told")
        piece = literal("[").concat(cast(self._now, String)).concat(",").concat(told).concat("],")
        return case((told == "", ""), else_=piece)

    def _longer_story(self) -> ColumnElement[str]:
        longer = _m.steps.concat(self._piece())
        return case((func.length(_m.steps) < STORY_LIMIT, longer), else_=_m.steps)

    def _take_new(self, new: Any) -> Any:
        until = self._now + _given("lease_ms", BigInteger)
        after, lane = _given("its_after"), _given("its_lane")
        wait_until = self._now + _given("wait_ms", BigInteger)
        values: dict[ColumnElement[Any], ColumnElement[Any]] = {
            _m.task_id: _given("task"),
            _m.message_id: _given("its_message_id"),
            _m.conversation: _given("its_conversation"),
            _m.conversation_id: _given("its_conversation_id"),
            _m.state: literal(RUNNING),
            _m.token: self._now,  # so that tokens grow even over a forgotten record
            _m.owner: _given("its_owner"),
            _m.lease_until: until,
            _m.due_at: until,
            _m.attempts: literal(0),
            _m.takeovers: literal(0),
            _m.envelope: _given("its_envelope", Text),
            _m.lane: lane,
            _m.place_ms: literal(HAS_TURN),
            _m.place_us: _given("its_place_us", BigInteger),
            _m.sender: _given("its_sender"),
            _m.after: after,
            _m.wait_until: wait_until,
            _m.steps: self._piece(),
            _m.known_at: self._now,
            _m.claimed_at: self._now,
            _m.route: _given("its_route", Text),
            _m.route_until: _given("its_route_until", BigInteger),
            _m.written_ms: _given("its_written_ms", BigInteger),
            _m.written_us: _given("its_written_us", BigInteger),
        }
        is_occupied = exists().where(_m.lane == lane, _m.state.not_in(_ENDS))
        is_known = exists().where(_m.task_id == after)
        is_stopped = exists().where(
            _n.kind == "stop", _n.key == _given("its_conversation"), _n.expires_at > self._now
        )
        row = select(*values.values()).where(
            and_(~is_occupied, or_(after.is_(None), is_known), ~is_stopped)
        )
        added = new.from_select(list(values), row)
        other = aliased(messages)
        are_kept = exists().where(other.c.kept_for == _given("its_conversation"))
        unknown = added.on_conflict_do_nothing(index_elements=[_m.task_id])
        return unknown.returning(_m.token, are_kept.label("others_kept"))
