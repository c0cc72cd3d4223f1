"""Real workers on a real Redis: who waits for whom, and what the others do meanwhile."""

import signal
import time

import pytest
import redis
from celery import Celery

from contract.routing import task_id
from dingwire.simulator.records import Message
from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for
from tests.watching import watching
from worker.words import CROWDED

BOT = "dingprocess"


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _until_runs(here: WorkerPlace, count: int) -> None:
    wait_for(lambda: len(here.runs) == count, what=f"{count} runs of the agent")


def _until_parked(here: WorkerPlace, count: int) -> None:
    """Wait until so many are in the store, and nothing of theirs on the broker."""

    def parked() -> bool:
        with redis.Redis.from_url(here.store_url) as store:
            states = [store.hget(key, "state") for key in store.scan_iter("dingtalk:message:*")]
        with redis.Redis.from_url(here.broker_url) as broker:
            in_hand = broker.hlen("unacked") + broker.llen("messages")
        return states.count(b"parked") == count and in_hand == states.count(b"running")

    wait_for(parked, what=f"{count} parked messages")


def _texts(here: WorkerPlace, conversation_id: str) -> list[str]:
    return [r.text for r in here.simulator.accepted if r.conversation_id == conversation_id]


def _until_replies(here: WorkerPlace, count: int) -> None:
    here.simulator.until(lambda s: len(s.accepted) == count, what=f"{count} replies")


def _say_next(here: WorkerPlace, text: str) -> Message:
    """Say it in another millisecond than what was said before; people do not write faster."""
    before = here.simulator.messages[-1].created_at_ms
    wait_for(lambda: time.time() * 1000 > before + 1, what="the next millisecond")
    return here.simulator.say(text)


def test_who_waits_holds_no_slot_and_the_others_are_answered(here):
    """Two slots: one is with the agent, twenty messages wait, and the other still works."""
    here.listener()
    here.worker("-c 2", AGENT="gated:only_alice_waits")
    first = here.simulator.say("first")
    _until_runs(here, 1)
    others = [here.simulator.say(f"number {n}") for n in range(20)]
    _until_parked(here, 20)

    bob = here.simulator.say("hello", "bob")
    here.simulator.until_answered(bob)

    assert _texts(here, first.conversation_id) == []
    here.gate.touch()
    _until_replies(here, 22)
    assert _texts(here, first.conversation_id) == [f"answer to {m.text}" for m in (first, *others)]


def test_with_order_sender_the_members_of_a_group_do_not_wait_for_each_other(here):
    here.listener()
    here.worker(AGENT="gated:only_alice_waits", ORDER="sender")
    first = here.simulator.say("first", "alice", "team")
    _until_runs(here, 1)
    here.simulator.say("second", "alice", "team")
    _until_parked(here, 1)

    here.simulator.say("hello", "bob", "team")

    _until_replies(here, 1)
    assert _texts(here, first.conversation_id) == ["answer to hello"]
    here.gate.touch()
    _until_replies(here, 3)
    assert _texts(here, first.conversation_id)[1:] == ["answer to first", "answer to second"]


def test_with_order_none_nobody_waits(here):
    here.listener()
    here.worker(AGENT="gated:plain", ORDER="none")
    here.simulator.say("first")
    here.simulator.say("second")

    _until_runs(here, 2)

    here.gate.touch()
    _until_replies(here, 2)


def test_a_burst_is_merged_into_one_turn_and_every_message_is_accounted_for(here):
    here.listener()
    with watching(Celery("watcher", broker=here.broker_url, set_as_current=False)) as seen:
        here.worker(AGENT="gated:plain", BURST="merge")
        first = here.simulator.say("first")
        _until_runs(here, 1)
        said = [here.simulator.say(text) for text in ("second", "third", "fourth")]
        _until_parked(here, 3)
        here.gate.touch()
        _until_replies(here, 2)

        ends = {task_id(BOT, m.message_id): m.text for m in (first, *said)}

        def ended() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {text: [] for text in ends.values()}
            for event in list(seen):
                if event["type"] in {"task-succeeded", "task-cancelled"}:
                    found[ends[event["uuid"]]].append(event["type"])
            return found

        wait_for(lambda: all(ended().values()), what="the end of every task")

    assert _texts(here, first.conversation_id) == [
        "answer to first",
        "answer to second\nthird\nfourth",
    ]
    assert ended() == {
        "first": ["task-succeeded"],
        "second": ["task-cancelled"],
        "third": ["task-cancelled"],
        "fourth": ["task-succeeded"],
    }
    assert here.unfinished() == 0


def test_one_too_many_gets_a_notice_at_once_and_is_a_missed_reply(here):
    here.listener()
    here.worker(AGENT="gated:plain", MAX_WAITING="1")
    first = here.simulator.say("first")
    _until_runs(here, 1)
    here.simulator.say("second")
    _until_parked(here, 1)

    third = here.simulator.say("third")

    _until_replies(here, 1)
    assert _texts(here, first.conversation_id) == [CROWDED.in_("en")]
    wait_for(lambda: here.missed(), what="a missed reply")
    [missed] = here.missed()
    assert (missed["message_id"], missed["reason"]) == (third.message_id, "too_many_waiting")
    here.gate.touch()
    _until_replies(here, 3)
    assert _texts(here, first.conversation_id)[1:] == ["answer to first", "answer to second"]


def test_a_kept_answer_goes_out_by_the_next_webhook_of_its_conversation(here):
    """First, marked with its question, once, and to nobody else."""
    here.listener()
    here.worker(AGENT="gated:plain")
    late = here.simulator.say("what is new?")
    _until_runs(here, 1)
    here.simulator.expire_session("alice")
    here.gate.touch()
    wait_for(lambda: here.missed(), what="a missed reply")

    here.simulator.say("hello", "bob")
    _until_replies(here, 1)
    for words in ("are you there?", "thank you"):
        here.simulator.until_answered(here.simulator.say(words))
        wait_for(lambda: here.unfinished() == 0, what="the end of the turn")

    assert _texts(here, late.conversation_id) == [
        "Late answer to: “what is new?”\nanswer to what is new?",
        "answer to are you there?",
        "answer to thank you",
    ]
    assert here.missed() == []


def test_a_kept_answer_stays_kept_when_handing_over_is_off(here):
    here.listener()
    here.worker(AGENT="gated:plain", LATE_HANDOVER="false")
    late = here.simulator.say("what is new?")
    _until_runs(here, 1)
    here.simulator.expire_session("alice")
    here.gate.touch()
    wait_for(lambda: here.missed(), what="a missed reply")

    here.simulator.say("are you there?")

    _until_replies(here, 1)
    assert _texts(here, late.conversation_id) == ["answer to are you there?"]
    assert [m["message_id"] for m in here.missed()] == [late.message_id]


def test_two_listeners_feed_one_conversation_in_the_order_it_was_written(here):
    """Each knows half of the messages; what waits goes by DingTalk's own time."""
    here.listener()
    here.start("python -m listener", DATA_DIR=str(here.folder / "data2"))
    here.simulator.until_connected(2)
    here.simulator.switch(distribution="round_robin")
    here.worker(AGENT="gated:plain")
    first = here.simulator.say("first")
    _until_runs(here, 1)
    others = [_say_next(here, f"number {n}") for n in range(20)]
    _until_parked(here, 20)

    here.gate.touch()

    _until_replies(here, 21)
    assert _texts(here, first.conversation_id) == [f"answer to {m.text}" for m in (first, *others)]
    used = {push.connection_id for push in here.simulator.pushes if push.message_id}
    assert len(used) == 2, "both took part"


def test_the_race_of_two_listeners_swaps_answers_and_never_mixes_them(here):
    """The bound: one listener's way to the broker is longer, here until it goes on at all."""
    slow = here.listener()
    here.worker(AGENT="gated:plain")
    slow.signal(signal.SIGSTOP)
    here.simulator.say("written first")
    here.start("python -m listener", DATA_DIR=str(here.folder / "data2"))
    here.simulator.until_connected(2)
    here.simulator.switch(distribution="newest")
    later = here.simulator.say("written second")
    _until_runs(here, 1)

    slow.signal(signal.SIGCONT)
    _until_parked(here, 1)
    here.gate.touch()

    _until_replies(here, 2)
    assert _texts(here, later.conversation_id) == [
        "answer to written second",
        "answer to written first",
    ]
