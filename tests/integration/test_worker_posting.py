"""A worker's delivery against the simulated DingTalk, over real HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.envelope import Envelope
from contract.turn import Order
from dingwire.openapi import OpenApiClient
from dingwire.simulator.thread import SimulatorThread
from dingwire.webhook import WebhookClient, WebhookHosts
from tests.unit.worker.answering_parts import Desk, envelope
from worker.answering import Answering
from worker.outcome import FinalState, Outcome
from worker.store import Reason
from worker.turns import Turns


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as running:
        yield running


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def worker(desk, simulator) -> Iterator[Answering]:
    """Flags what is late; posts over HTTP."""
    with made(desk, simulator, policy="flag") as worker:
        yield worker


@pytest.fixture
def rescuer(desk, simulator) -> Iterator[Answering]:
    """Rescues what is late."""
    with made(desk, simulator, policy="rescue") as worker:
        yield worker


@contextmanager
def made(
    desk: Desk, simulator: SimulatorThread, *, policy: str, **more: Any
) -> Iterator[Answering]:
    hosts = (simulator.webhook_host,)
    webhook = WebhookClient(WebhookHosts.parse(hosts))
    proactive = OpenApiClient(
        endpoint=simulator.endpoint,
        client_id="id",
        client_secret="secret",
        clock=lambda: datetime.now(UTC),
    )
    try:
        yield desk.worker(policy=policy, webhook=webhook, hosts=hosts, proactive=proactive, **more)
    finally:
        webhook.close()
        proactive.close()


def said(
    simulator: SimulatorThread, group: str | None = None, *, who: str = "alice", **more: Any
) -> Envelope:
    """What the listener makes of a message somebody wrote."""
    message = simulator.say("hello", who, group)
    return envelope(
        bot="id",
        conversation="group" if group else "private",
        conversation_id=message.payload["conversationId"],
        sender_staff_id=message.payload["senderStaffId"],
        session_webhook=message.session_webhook,
        **more,
    )


def posted(simulator: SimulatorThread) -> list[str]:
    return [reply.body["text"]["content"] for reply in simulator.accepted]


def flagged(desk: Desk, outcome: Outcome) -> tuple[str, Reason, int | None]:
    """What an operator sees; the answer is always there."""
    missed = desk.missed()
    assert missed is not None
    assert missed.state == outcome.state
    assert json.loads(missed.answer or "")["content"] == "an answer"
    return missed.state, missed.reason, missed.errcode


def test_an_answer_reaches_the_chat_once(desk, simulator, worker):
    outcome = desk.answer(worker, said(simulator))

    assert outcome.state is FinalState.SUCCESS
    assert posted(simulator) == ["an answer"]


def test_300001_with_http_200_is_not_taken_for_delivered(desk, simulator, worker):
    message = said(simulator)
    simulator.expire_session("alice")

    outcome = desk.answer(worker, message)

    assert flagged(desk, outcome) == ("FLAGGED", Reason.EXPIRED_AT_SEND, 300001)
    assert posted(simulator) == []


@pytest.mark.parametrize("errcode", [310000, 400102, 430101, 40035])
def test_a_refused_reply_is_a_failure_with_dingtalks_code(desk, simulator, worker, errcode):
    message = said(simulator)
    simulator.fail_replies(errcode=errcode)

    outcome = desk.answer(worker, message)

    assert flagged(desk, outcome) == ("FAILURE", Reason.REJECTED_BY_DINGTALK, errcode)
    assert desk.due() == []


@pytest.mark.parametrize(
    ("fault", "least_s"),
    [
        ({"errcode": -1}, 1),
        ({"errcode": 130101}, 60),
        ({"status": 503}, 1),
        ({"status": 429}, 60),
        ({"reset": True, "accept": False}, 1),
    ],
    ids=["busy", "throttled", "unavailable", "too many", "cut off"],
)
def test_what_may_pass_is_tried_again_until_it_has(desk, simulator, worker, fault, least_s):
    message = said(simulator)
    simulator.fail_replies(**fault)

    first = desk.answer(worker, message)
    second = desk.deliver_when_due(worker, first)

    assert first.retry_in_s is not None
    assert least_s <= first.retry_in_s <= least_s * 1.5
    assert second.state is FinalState.SUCCESS
    assert posted(simulator) == ["an answer"]
    assert len(desk.agent_calls) == 1


def test_a_reply_whose_answer_was_lost_is_known_by_its_id_the_second_time(desk, simulator, worker):
    """It reached the chat; where DingTalk honours the id, the second copy does not."""
    simulator.switch(honour_msg_uuid=True)
    message = said(simulator)
    simulator.fail_replies(reset=True, accept=True)

    first = desk.answer(worker, message)
    second = desk.deliver_when_due(worker, first)

    assert "may have arrived" in first.detail
    assert second.state is FinalState.SUCCESS
    assert len({reply.body["msgUuid"] for reply in simulator.replies}) == 1
    assert len(simulator.replies) == 2


@pytest.mark.parametrize("group", [None, "team"])
def test_a_rescue_reaches_the_conversation_the_message_came_from(desk, simulator, rescuer, group):
    message = said(simulator, group)
    simulator.expire_session(group or "alice")

    outcome = desk.answer(rescuer, message)

    assert (outcome.state, outcome.errcode) == (FinalState.RESCUED, 300001)
    (sent,) = simulator.proactive
    assert sent.accepted
    assert sent.conversation_ids == [message.conversation_id]
    assert sent.text == "an answer"
    assert desk.missed() is None


def test_a_rescue_without_permission_is_flagged(desk, simulator, rescuer):
    message = said(simulator)
    simulator.switch(proactive="permission")
    simulator.expire_session("alice")

    outcome = desk.answer(rescuer, message)

    assert flagged(desk, outcome) == ("FLAGGED", Reason.EXPIRED_AT_SEND, 300001)
    assert outcome.detail.startswith("rescue failed: ")


def test_a_webhook_that_died_while_the_worker_waited_is_flagged(desk, simulator, worker):
    message = said(simulator)
    simulator.fail_replies(times=None, status=503)
    outcome = desk.answer(worker, message.model_copy(update={"deadline": desk.clock.now}))

    assert outcome.reason is Reason.EXPIRED_IN_QUEUE
    outcome = desk.answer(
        worker,
        message.model_copy(
            update={"message_id": "msg2", "deadline": desk.clock.now + timedelta(seconds=1)}
        ),
    )
    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)


def test_two_workers_leave_a_throttled_conversation_alone_and_lose_nothing(desk, simulator):
    """Everybody in the group has a turn of their own, so only the pace keeps the workers back."""
    simulator.switch(reply_rate_limit=20, reply_throttle_s=60)
    people = ("alice", "bob", "carol")
    messages = [
        said(simulator, "team", who=people[n % 3], message_id=f"{people[n % 3]} {n}")
        for n in range(26)
    ]
    agent = desk.agent(lambda message: message.message_id)
    more = {"agent": agent, "turns": Turns(Order.SENDER)}
    with (
        made(desk, simulator, policy="flag", **more) as one,
        made(desk, simulator, policy="flag", **more) as other,
    ):
        outcomes = [desk.answer(other if n % 2 else one, m) for n, m in enumerate(messages)]

        assert [outcome.state for outcome in outcomes[:20]] == [FinalState.SUCCESS] * 20
        assert outcomes[20].errcode == 130101
        assert [outcome.is_paced for outcome in outcomes[21:23]] == [True] * 2
        assert [outcome.parked for outcome in outcomes[23:]] == [True] * 3
        assert len(simulator.replies) == 21

        simulator.switch(clock_skew_s=61)
        desk.clock.advance(61)
        waiting = desk.due()
        desk.published.clear()
        while waiting:
            for n, message in enumerate(waiting):
                data = None if message.has_answer else message.envelope
                desk.work_on(other if n % 2 else one, message.task_id, data)
            waiting = [*desk.published, *desk.due()]
            desk.published.clear()

    assert [reply.errcode for reply in simulator.replies].count(130101) == 1
    assert desk.missed() is None
    assert sorted(posted(simulator)) == sorted(m.message_id for m in messages)
    for who in people:
        ours = [words for words in posted(simulator) if words.startswith(who)]
        assert ours == [m.message_id for m in messages if m.message_id.startswith(who)]
