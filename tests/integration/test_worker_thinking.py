"""What people see while an answer is made, in the simulated DingTalk."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from contract.envelope import Envelope
from contract.routing import task_id
from dingwire.openapi import OpenApiClient
from dingwire.simulator.bot_records import Card
from dingwire.simulator.thread import SimulatorThread
from dingwire.webhook import WebhookClient, WebhookHosts
from tests.servers import wait_for
from tests.unit.worker.answering_parts import Desk, envelope
from worker.outcome import FinalState
from worker.thinking import CardSettings
from worker.words import FAILED

CREATE = "/v1.0/card/instances/createAndDeliver"
UPDATE, STREAM = "/v1.0/card/instances", "/v1.0/card/streaming"


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
def make(desk, simulator):
    """Make a worker over HTTP."""
    hosts = (simulator.webhook_host,)
    webhook = WebhookClient(WebhookHosts.parse(hosts))
    api = OpenApiClient(
        endpoint=simulator.endpoint,
        client_id="id",
        client_secret="secret",
        clock=lambda: datetime.now(UTC),
    )

    def make(agent, thinking):
        return desk.worker(
            agent,
            webhook=webhook,
            hosts=hosts,
            thinking=thinking,
            card=CardSettings("t.schema", every_s=0.05),
            api=api,
        )

    yield make
    webhook.close()
    api.close()


def said(simulator: SimulatorThread, group: str | None = None) -> Envelope:
    """What the listener makes of a message somebody wrote."""
    message = simulator.say("hello", "alice", group)
    return envelope(
        bot="id",
        message_id=message.payload["msgId"],
        conversation="group" if group else "private",
        conversation_id=message.payload["conversationId"],
        sender_staff_id=message.payload["senderStaffId"],
        session_webhook=message.session_webhook,
    )


def card_of(simulator: SimulatorThread, message: Envelope) -> Card:
    return simulator.cards[f"answer-{task_id(message.bot, message.message_id)}"]


def until_shown(simulator: SimulatorThread, message: Envelope, text: str) -> None:
    def is_shown() -> bool:
        return bool(simulator.cards) and card_of(simulator, message).text == text

    wait_for(is_shown, limit_s=60, what=f"the card to show {text!r}")


@pytest.mark.parametrize("group", [None, "team"])
def test_a_card_grows_and_is_the_answer(desk, simulator, make, group):
    message = said(simulator, group)
    seen: list[str] = []

    def agent(_message):
        for shown in ("# One", "# One\n\ntwo", "# One\n\ntwo\n\nthree"):
            yield shown.removeprefix(seen[-1] if seen else "")
            until_shown(simulator, message, shown)
            seen.append(shown)
            assert card_of(simulator, message).state == "streaming"

    outcome = desk.answer(make(agent, "card"), message)

    card = card_of(simulator, message)
    assert (outcome.state, outcome.facts["route"]) == (FinalState.SUCCESS, "card")
    assert (card.state, card.text) == ("finished", "# One\n\ntwo\n\nthree")
    assert card.params["flowStatus"] == "3"
    assert card.streams == 4
    assert list(card.places) == [message.conversation_id]
    assert simulator.replies == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [(CREATE, "permission"), (CREATE, "count_limit"), (STREAM, "permission"), (STREAM, "qpm")],
)
def test_when_its_card_fails_the_answer_is_a_message(desk, simulator, make, path, kind):
    message = said(simulator)
    simulator.fail_api(path, times=None, kind=kind)

    outcome = desk.answer(make(lambda _: iter(["**an** ", "answer"]), "card"), message)

    assert outcome.facts["route"] == "webhook"
    assert [reply.body["markdown"]["text"] for reply in simulator.accepted] == ["**an** answer"]


def test_a_conversation_that_takes_no_card_gets_a_message(desk, simulator, make):
    message = said(simulator, "team")
    simulator.switch(card_refusing_spaces=[message.conversation_id])

    desk.answer(make(lambda _: iter(["an ", "answer"]), "card"), message)

    assert [reply.text for reply in simulator.accepted] == ["an answer"]


def test_a_stream_that_fails_midway_leaves_a_failed_card(desk, simulator, make):
    message = said(simulator)

    def agent(_message):
        yield "so far"
        until_shown(simulator, message, "so far")
        raise ValueError

    outcome = desk.answer(make(agent, "card"), message)
    wait_for(
        lambda: card_of(simulator, message).params["flowStatus"] == "5",
        limit_s=60,
        what="the card to fail",
    )

    assert outcome.state is FinalState.FAILURE
    assert card_of(simulator, message).state == "failed"
    sorry = FAILED.in_("both")
    assert card_of(simulator, message).text == f"so far\n\n{sorry}"


@pytest.mark.parametrize("group", [None, "team"])
def test_a_reaction_is_on_the_message_while_the_agent_works(desk, simulator, make, group):
    """DingTalk does not know the message yet when the first calls come."""
    message = said(simulator, group)
    simulator.switch(emotion_race=2)

    def standing() -> list[str]:
        [its] = [m for m in simulator.messages if m.message_id == message.message_id]
        return list(its.reactions)

    def agent(_message):
        wait_for(standing, limit_s=60, what="the reaction")
        return "an answer"

    desk.answer(make(agent, "reaction"), message)
    wait_for(lambda: not standing(), limit_s=60, what="the end of the reaction")

    assert [reply.text for reply in simulator.accepted] == ["an answer"]
    assert [r.action for r in simulator.reactions if r.accepted] == ["reply", "recall"]
