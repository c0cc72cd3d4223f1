"""Whatever keeps the messages keeps these rules: Redis, PostgreSQL and SQLite alike."""

import logging
from datetime import UTC, datetime
from typing import cast

import pytest

from contract.routing import task_id
from tests.integration.store_place import StorePlace, envelope
from tests.servers import wait_for
from worker.store import (
    Claimed,
    Finished,
    Held,
    Lease,
    LeaseLostError,
    Reason,
    Store,
    StoreSchemaError,
)


def claim(store: Store, task_id: str = "task1", *, owner="me", lease_s=15.0, **more) -> Claimed:
    claimed = store.claim(task_id, owner=owner, lease_s=lease_s, envelope=envelope(**more))
    assert isinstance(claimed, Claimed)
    return claimed


def miss(store: Store, lease: Lease, detail="AgentError") -> None:
    store.miss(lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=300001, detail=detail)


def due_ids(store: Store) -> list[str]:
    return [message.task_id for message in store.due(limit=10, hold_s=60)]


# Claims.


def test_a_message_nobody_has_is_ours_with_nothing_done_yet(store):
    claimed = claim(store)

    assert (claimed.lease.task_id, claimed.lease.owner) == ("task1", "me")
    assert claimed.envelope == envelope()
    assert (claimed.answer, claimed.attempts, claimed.takeovers) == (None, 0, 0)


@pytest.mark.parametrize("owner", ["me", "another"])
def test_a_living_lease_is_respected_even_by_its_owner(store, clock, owner):
    claim(store, lease_s=15)
    clock.advance(14.999)

    again = store.claim("task1", owner=owner, lease_s=15, envelope=envelope())

    assert again == Held("me")


def test_a_lease_that_ran_out_is_taken_over_and_counted(store, clock):
    first = claim(store, lease_s=15)
    clock.advance(15)
    second = claim(store, owner="another", lease_s=15)
    clock.advance(15)
    third = claim(store, owner="third", lease_s=15)

    assert first.lease.token < second.lease.token < third.lease.token
    assert [first.takeovers, second.takeovers, third.takeovers] == [0, 1, 2]
    assert third.lease.owner == "third"


def test_a_released_message_is_no_takeover(store, clock):
    first = claim(store)
    store.release(first.lease, due_in_s=0)

    second = claim(store, owner="another")

    assert second.takeovers == 0
    assert second.lease.token > first.lease.token


@pytest.mark.parametrize("content", [envelope(), None], ids=["answer", "deliver"])
def test_a_released_message_is_nobodys_before_its_time(store, clock, content):
    """A second copy of it would post while DingTalk still wants us to wait."""
    store.release(claim(store).lease, due_in_s=30)
    clock.advance(29.999)
    assert store.claim("task1", owner="me", lease_s=15, envelope=content) == Held("")
    clock.advance(0.001)

    again = store.claim("task1", owner="me", lease_s=15, envelope=content)

    assert isinstance(again, Claimed)


def test_a_message_that_waited_once_may_be_released_for_now(store, clock):
    store.release(claim(store).lease, due_in_s=30)
    clock.advance(30)
    store.release(claim(store).lease, due_in_s=0)

    claim(store)


def test_a_message_that_was_handed_out_can_be_claimed_at_once(store, clock):
    """How long the sweep waits for its copy to be claimed says nothing about who may."""
    store.release(claim(store).lease, due_in_s=30)
    clock.advance(30)
    assert due_ids(store) == ["task1"]

    claim(store)


def test_the_envelope_of_the_first_claim_wins(store):
    first = claim(store, text="first")
    store.release(first.lease, due_in_s=0)

    assert claim(store, text="second").envelope["text"] == "first"


def test_a_claim_without_envelope_gets_the_kept_one(store):
    store.release(claim(store).lease, due_in_s=0)

    claimed = store.claim("task1", owner="me", lease_s=15, envelope=None)

    assert isinstance(claimed, Claimed)
    assert claimed.envelope == envelope()


def test_a_claim_without_envelope_of_an_unknown_message_is_finished_and_leaves_nothing(store):
    assert store.claim("task1", owner="me", lease_s=15, envelope=None) == Finished(None)

    assert claim(store).takeovers == 0


def test_a_claim_without_envelope_respects_a_living_lease(store):
    claim(store)

    assert store.claim("task1", owner="other", lease_s=15, envelope=None) == Held("me")


def test_a_done_message_is_finished_with_its_outcome(store):
    store.finish(claim(store).lease, "SUCCESS")

    for content in (envelope(), None):
        again = store.claim("task1", owner="me", lease_s=15, envelope=content)
        assert again == Finished("SUCCESS")


def test_a_missed_message_is_finished_with_its_state(store):
    miss(store, claim(store).lease)

    again = store.claim("task1", owner="me", lease_s=15, envelope=envelope())

    assert again == Finished("FLAGGED")


def test_whatever_was_written_comes_back_to_the_letter(store):
    """A database that refuses a character must not make a message impossible to answer."""
    text = "null \0, half a pair \ud800, 中文, 🎉, 'quotes\" \\ %s :name {}"
    first = claim(store, text=text, message_id="id\0\ud800")
    store.keep_answer(first.lease, text)
    store.release(first.lease, due_in_s=0)

    second = claim(store)

    assert (second.envelope["text"], second.answer) == (text, text)
    miss(store, second.lease, detail="\0")
    found = store.find_missed("task1")
    assert found is not None
    assert found.answer == text


def test_an_empty_answer_is_an_answer(store):
    """An agent may choose silence, and must not be asked again."""
    first = claim(store)
    store.keep_answer(first.lease, "")
    store.release(first.lease, due_in_s=0)

    assert store.due(limit=1, hold_s=0)[0].has_answer
    assert claim(store).answer == ""


# Leases.


def test_a_renewed_lease_lives_on_from_now(store, clock):
    lease = claim(store, lease_s=15).lease
    clock.advance(10)
    assert store.renew([lease], lease_s=15) == []
    clock.advance(14)

    assert store.claim("task1", owner="other", lease_s=15, envelope=None) == Held("me")
    clock.advance(1)
    assert claim(store, owner="other").takeovers == 1


def test_a_lease_that_ran_out_may_be_renewed_while_nobody_took_over(store, clock):
    lease = claim(store, lease_s=15).lease
    clock.advance(20)

    assert store.renew([lease], lease_s=15) == []

    assert due_ids(store) == []


def test_renewing_tells_which_leases_are_lost(store, clock):
    lost, finished, released = (claim(store, f"task{n}", lease_s=1).lease for n in range(3))
    kept = claim(store, "kept", lease_s=60).lease
    unknown = Lease("unknown", "me", 1)
    clock.advance(2)
    claim(store, "task0", owner="other")
    store.finish(finished, "SUCCESS")
    store.release(released, due_in_s=0)

    answer = store.renew([lost, kept, finished, released, unknown], lease_s=15)

    assert answer == [lost, finished, released, unknown]
    assert store.renew([], lease_s=15) == []


WRITES = {
    "keep_answer": lambda store, lease: store.keep_answer(lease, "answer"),
    "release": lambda store, lease: store.release(lease, due_in_s=0),
    "finish": lambda store, lease: store.finish(lease, "SUCCESS"),
    "miss": miss,
}


@pytest.mark.parametrize("write", WRITES)
def test_who_lost_the_lease_writes_nothing(store, clock, write):
    stale = claim(store, lease_s=15).lease
    clock.advance(15)
    current = claim(store, owner="another", lease_s=15)

    with pytest.raises(LeaseLostError, match="lease on task task1 is lost"):
        WRITES[write](store, stale)

    assert store.claim("task1", owner="x", lease_s=1, envelope=None) == Held("another")
    assert store.missed() == []
    store.release(current.lease, due_in_s=0)
    assert claim(store).answer is None


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("end", ["release", "finish", "miss"])
def test_who_gave_the_message_away_writes_nothing_more(store, write, end):
    lease = claim(store).lease
    WRITES[end](store, lease)

    with pytest.raises(LeaseLostError):
        WRITES[write](store, lease)


@pytest.mark.parametrize("write", WRITES)
def test_a_lease_that_ran_out_still_writes_while_nobody_took_over(store, clock, write):
    """The work is done; refusing it would only have it done again."""
    lease = claim(store, lease_s=15).lease
    clock.advance(100)

    WRITES[write](store, lease)


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_to_an_unknown_message(store, write):
    with pytest.raises(LeaseLostError):
        WRITES[write](store, Lease("task1", "me", 1))

    assert store.claim("task1", owner="me", lease_s=1, envelope=None) == Finished(None)


# Answers and attempts.


def test_the_next_worker_gets_the_kept_answer_and_the_attempts(store, clock):
    first = claim(store, lease_s=15)
    store.keep_answer(first.lease, "kept")
    store.release(first.lease, due_in_s=0, attempts=2)
    second = claim(store, lease_s=15)
    store.release(second.lease, due_in_s=0)
    third = claim(store, lease_s=15)
    clock.advance(15)
    fourth = claim(store)

    assert [(c.answer, c.attempts) for c in (second, third, fourth)] == [("kept", 2)] * 3


# What is due.


def test_a_running_message_is_due_when_its_lease_runs_out(store, clock):
    claim(store, lease_s=15)
    clock.advance(14.999)
    assert due_ids(store) == []
    clock.advance(0.001)

    assert due_ids(store) == ["task1"]


def test_a_renewal_moves_the_due_time(store, clock):
    lease = claim(store, lease_s=15).lease
    clock.advance(10)
    store.renew([lease], lease_s=15)
    clock.advance(14)
    assert due_ids(store) == []
    clock.advance(1)

    assert due_ids(store) == ["task1"]


def test_a_released_message_is_due_when_its_releaser_said(store, clock):
    store.release(claim(store, lease_s=15).lease, due_in_s=30)
    clock.advance(29.999)
    assert due_ids(store) == []
    clock.advance(0.001)

    assert due_ids(store) == ["task1"]


def test_a_message_released_for_now_is_due_at_once(store):
    store.release(claim(store).lease, due_in_s=0)

    assert due_ids(store) == ["task1"]


def test_what_is_due_says_what_is_left_to_do(store):
    for number, answer in enumerate([None, "kept"]):
        lease = claim(store, f"task{number}", number=number).lease
        if answer:
            store.keep_answer(lease, answer)
        store.release(lease, due_in_s=0, attempts=2 * number)

    due = {message.task_id: message for message in store.due(limit=10, hold_s=60)}

    assert [due[f"task{n}"].has_answer for n in range(2)] == [False, True]
    assert [due[f"task{n}"].attempts for n in range(2)] == [0, 2]
    assert [due[f"task{n}"].message_id for n in range(2)] == ["msg0", "msg1"]
    assert due["task0"].envelope == envelope(0)


def test_who_takes_what_is_due_holds_it_for_a_while_only(store, clock):
    store.release(claim(store).lease, due_in_s=0)

    assert [m.task_id for m in store.due(limit=10, hold_s=5)] == ["task1"]
    clock.advance(4.999)
    assert due_ids(store) == []
    clock.advance(0.001)
    assert due_ids(store) == ["task1"]


def test_taking_what_is_due_claims_nothing(store, clock):
    """The lease of a dead worker stays dead, and whoever reads the queue first may claim."""
    claim(store, lease_s=15)
    clock.advance(15)
    store.due(limit=10, hold_s=60)

    assert claim(store, owner="other", lease_s=15).takeovers == 1
    assert due_ids(store) == []
    clock.advance(15)
    assert due_ids(store) == ["task1"]


def test_the_oldest_are_taken_first_and_no_more_than_asked_for(store, clock):
    for number, due_in_s in enumerate([3, 1, 2, 5]):
        store.release(claim(store, f"task{number}").lease, due_in_s=due_in_s)
    clock.advance(4)

    assert [m.task_id for m in store.due(limit=2, hold_s=60)] == ["task1", "task2"]
    assert [m.task_id for m in store.due(limit=2, hold_s=60)] == ["task0"]


@pytest.mark.parametrize("end", ["finish", "miss"])
def test_what_is_finished_is_never_due(store, clock, end):
    WRITES[end](store, claim(store, lease_s=15).lease)
    clock.advance(3600)

    assert due_ids(store) == []


# Missed replies.


def test_a_missed_reply_shows_everything_the_operator_needs(store, clock):
    lease = claim(store).lease
    store.keep_answer(lease, "too late")
    clock.advance(7)
    miss(store, lease)

    [reply] = store.missed()

    assert (reply.task_id, reply.message_id, reply.bot) == ("task1", "msg1", "robot")
    assert (reply.conversation_id, reply.state) == ("cid1", "FLAGGED")
    assert (reply.reason, reply.errcode) == (Reason.EXPIRED_AT_SEND, 300001)
    assert reply.detail == "AgentError"
    assert reply.missed_at == datetime.fromtimestamp(clock() / 1000, UTC)
    assert (reply.envelope, reply.answer) == (envelope(), "too late")


def test_a_missed_reply_may_have_neither_answer_nor_code(store):
    lease = claim(store).lease
    store.miss(lease, state="FAILURE", reason=Reason.AGENT_FAILED, errcode=None, detail="KeyError")

    [reply] = store.missed()

    assert (reply.state, reply.errcode, reply.answer) == ("FAILURE", None, None)


def test_missed_replies_come_newest_first_and_no_more_than_asked_for(store, clock):
    for number in range(4):
        miss(store, claim(store, f"task{number}").lease)
        clock.advance(1)

    assert [r.task_id for r in store.missed()] == ["task3", "task2", "task1", "task0"]
    assert [r.task_id for r in store.missed(limit=2)] == ["task3", "task2"]


def test_a_missed_reply_is_found_by_either_id_and_nothing_else_is(store):
    first, second, third = (task_id("robot", f"msg{n}") for n in (1, 2, 3))
    miss(store, claim(store, first, number=1).lease)
    store.finish(claim(store, second, number=2).lease, "SUCCESS")
    claim(store, third, number=3)

    for id_ in (first, "msg1"):
        found = store.find_missed(id_)
        assert found is not None
        assert found.task_id == first
    for id_ in (second, "msg2", third, "msg3", "", "unknown"):
        assert store.find_missed(id_) is None


# Retention.


def _forgotten(store: Store, task_id: str) -> bool:
    store.prune()
    claim = store.claim(task_id, owner="me", lease_s=15, envelope=None)
    return claim == Finished(None)


def test_a_done_message_is_known_for_its_time_and_then_forgotten(store_place):
    """Redis expires by its own clock, so this one passes for real."""
    store = store_place.open(done_ttl_s=1)
    store.prepare()
    store.finish(claim(store).lease, "SUCCESS")
    assert not _forgotten(store, "task1")

    wait_for(lambda: _forgotten(store, "task1"), what="the record to go")
    assert claim(store).takeovers == 0
    store.close()


def test_a_missed_reply_is_kept_for_its_time_and_then_forgotten(store_place):
    store = store_place.open(done_ttl_s=0.001, missed_ttl_s=1)
    store.prepare()
    miss(store, claim(store).lease)
    store.prune()
    assert [r.task_id for r in store.missed()] == ["task1"]

    wait_for(lambda: store.missed() == [], what="the missed reply to go")
    assert store.find_missed("msg1") is None
    assert store.prune() == 1
    assert store.prune() == 0
    assert _forgotten(store, "task1")
    store.close()


def test_an_unfinished_message_is_never_forgotten(store, clock):
    claim(store, lease_s=15)
    clock.advance(10 * 365 * 86_400)

    assert store.prune() == 0
    assert claim(store).takeovers == 1


def test_a_token_grows_even_over_a_forgotten_record(store_place):
    """Else the holder of a lease from before could write into the message's second life."""
    store = store_place.open(done_ttl_s=0.001)
    store.prepare()
    first = claim(store).lease
    store.finish(first, "SUCCESS")
    wait_for(lambda: _forgotten(store, "task1"), what="the record to go")

    assert claim(store).lease.token > first.token
    store.close()


# The store itself.


def test_on_its_own_clock_a_lease_lives_dies_and_is_due(store_place):
    """The same rules without a clock of ours."""
    store = store_place.open()
    store.prepare()
    claim(store, lease_s=0.3)
    assert store.claim("task1", owner="other", lease_s=9, envelope=None) == Held("me")

    taken: list[str] = []

    def died() -> bool:
        taken.extend(due_ids(store))
        return bool(taken)

    wait_for(died, what="the lease to die")

    assert taken == ["task1"]
    assert claim(store, owner="other").takeovers == 1
    miss(store, claim(store, "task2").lease)
    age = datetime.now(UTC) - store.missed()[0].missed_at
    assert abs(age.total_seconds()) < 5
    store.close()


def test_a_store_can_be_prepared_again_and_forgets_nothing(store, store_place, clock):
    claim(store)
    another = store_place.open(clock_ms=clock)

    another.prepare()

    assert another.claim("task1", owner="x", lease_s=1, envelope=None) == Held("me")
    another.close()


def test_a_closed_store_can_be_used_again(store):
    store.check()
    store.close()

    store.check()


def test_a_check_leaves_nothing_behind(store):
    store.check()

    assert (store.missed(), due_ids(store), store.prune()) == ([], [], 0)


def test_a_schema_from_the_future_is_refused_with_both_versions(store, store_place):
    _set_version(store_place, 99)

    with pytest.raises(StoreSchemaError, match="schema version 99, this release knows up to"):
        store.prepare()


def _set_version(store_place: StorePlace, version: int) -> None:
    from sqlalchemy import text

    from worker.store.redis import RedisStore
    from worker.store.sql import SqlStore

    store = store_place.open()
    if isinstance(store, RedisStore):
        store._redis.set(f"{store_place.prefix}schema", version)
    else:
        with cast(SqlStore, store)._database.engine.begin() as connection:
            connection.execute(text("UPDATE dingtalk_schema SET version = :v"), {"v": version})
    store.close()


def test_nothing_private_reaches_a_repr_or_the_log(store_place, clock, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "sqlalchemy.engine")  # as someone who looks for slow queries
    store = store_place.open(clock_ms=clock)
    store.prepare()
    claimed = claim(store, text="PRIVATE")
    store.keep_answer(claimed.lease, "PRIVATE")
    clock.advance(15)
    due = store.due(limit=1, hold_s=0)
    miss(store, claim(store).lease)

    assert "PRIVATE" not in repr([store, claimed, due, store.missed()])
    assert "PRIVATE" not in caplog.text
    store.close()
