"""A kept answer on its way out after all: which way is taken, and where the search ends."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contract.envelope import Envelope
from contract.routing import task_id
from contract.sealing import IN_CLEAR, Sealer
from dingwire.errors import (
    OpenApiRefusedError,
    OpenApiUnavailableError,
    WebhookExpiredError,
    WebhookRefusedError,
    WebhookThrottledError,
    WebhookUnreachableError,
)
from dingwire.replies import Markdown, Reply, Text
from dingwire.webhook import WebhookClient, WebhookHosts
from tests.unit.worker.answering_parts import (
    LEASE_S,
    SECRET_WORDS,
    SESSION,
    START,
    Clock,
    RecordingProactive,
    RecordingWebhook,
    envelope,
)
from worker.sending.carrying import Carrier, Route
from worker.sending.pacing import Pacing
from worker.sending.resending import InDoubtError, NotSentError, Resender
from worker.store import Claimed, Lease, LeaseLostError, Reason
from worker.store.sql import SqlStore

LATER = f"https://oapi.dingtalk.com/robot/sendBySession?session=later-{SESSION}"
ANSWER = [Text(content="the answer")]


class AddressedWebhook(RecordingWebhook):
    """Remembers where each post went, and answers by address."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.dead: dict[str, Exception] = {}

    def post(self, url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        self.asked.append(url)
        if url in self.dead:
            raise self.dead[url]
        super().post(url, reply, msg_uuid=msg_uuid)


class Place:
    """A store, DingTalk's two doors, and somebody who sends."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store = SqlStore(f"sqlite:///{folder}/store.db", clock_ms=self.clock.ms)
        self.store.prepare()
        self.webhook, self.proactive = AddressedWebhook(), RecordingProactive()

    def resender(self, *, proactive: Any = "recording", **more: Any) -> Resender:
        sender = self.proactive if proactive == "recording" else proactive
        carrier = Carrier(more.pop("webhook", self.webhook), lambda _: sender, Pacing(self.store))
        ways: dict[str, Any] = {"carrier": carrier, "clock": self.clock, "sealer": IN_CLEAR}
        return Resender(self.store, **ways | more)

    def taken(self, message: Envelope, sealer: Sealer = IN_CLEAR) -> Lease:
        """Have the message's answer kept as missed, and claim it as a sender does."""
        id_ = task_id(message.bot, message.message_id)
        wire = sealer.seal(message.to_wire())
        claim = self.store.claim(id_, owner="worker", lease_s=LEASE_S, envelope=wire)
        assert isinstance(claim, Claimed)
        self.store.keep_answer(claim.lease, "kept")
        facts: dict[str, Any] = {"errcode": None, "detail": ""}
        self.store.miss(claim.lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, **facts)
        taken = self.store.take_missed_one(id_, owner="operator", lease_s=LEASE_S)
        assert taken is not None
        return taken[0]

    def someone_writes(self, sealer: Sealer = IN_CLEAR, **more: Any) -> None:
        """Let a later message reach the store."""
        facts = {"message_id": "later", "session_webhook": LATER} | more
        message = envelope(**{"deadline": self.clock.now + timedelta(hours=1)} | facts)
        wire = sealer.seal(message.to_wire())
        id_ = task_id(message.bot, message.message_id)
        self.store.claim(id_, owner="worker", lease_s=LEASE_S, envelope=wire)

    def steps(self, lease: Lease) -> list[tuple[Any, ...]]:
        """The story of sending, as it was told."""
        story = self.store.story(lease.task_id)
        assert story is not None
        return [
            (step.facts["part"], step.facts["of"], step.facts["route"])
            for step in story.steps
            if step.name == "sending"
        ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.store.close()


def over(**more: Any) -> Envelope:
    """A message whose webhook is over."""
    return envelope(**{"deadline": START - timedelta(seconds=1)} | more)


def test_its_own_webhook_comes_first_while_it_lives(place):
    message = envelope()
    lease = place.taken(message)
    place.someone_writes()

    sent = place.resender().send(lease, message, ANSWER, mark=False)

    assert (sent.route, sent.parts, sent.by_message_id) == (Route.WEBHOOK, 1, None)
    assert place.webhook.asked == [message.session_webhook]
    assert place.webhook.posted == ["the answer"]
    assert place.webhook.uuids == [lease.task_id], "as the first delivery had it"
    assert place.steps(lease) == [(1, 1, "webhook")]
    assert place.proactive.sent == []


def test_a_webhook_lives_by_dingtalks_clock(place):
    """Ours is ten minutes behind: what looks alive here is over there."""
    message = envelope(deadline=START + timedelta(minutes=5), clock_offset_s=600)

    sent = place.resender().send(place.taken(message), message, ANSWER)

    assert place.webhook.asked == []
    assert sent.route is Route.PROACTIVE


def test_the_story_tells_why_it_goes_by_no_better_way(place):
    message = over()
    lease = place.taken(message)

    place.resender().send(lease, message, ANSWER)

    story = place.store.story(lease.task_id)
    reasons = [step.facts.get("because") for step in story.steps if step.name == "sending"]
    assert reasons == [
        "its own webhook is over; no later message has a webhook that lives",
    ]


def test_a_webhook_that_is_over_is_followed_by_that_of_a_later_message(place):
    message = over()
    lease = place.taken(message)
    place.someone_writes()

    sent = place.resender().send(lease, message, ANSWER)

    assert (sent.route, sent.by_message_id) == (Route.WEBHOOK, "later")
    assert place.webhook.asked == [LATER]
    assert place.proactive.sent == []


@pytest.mark.parametrize("other", [{"conversation_id": "cid2"}, {"bot": "robot2"}])
def test_the_webhook_of_another_conversation_or_bot_is_never_used(place, other):
    message = over()
    lease = place.taken(message)
    place.someone_writes(**other)

    sent = place.resender().send(lease, message, ANSWER)

    assert place.webhook.asked == []
    assert sent.route is Route.PROACTIVE


def test_a_later_webhook_that_is_over_as_well_is_not_tried(place):
    message = over()
    lease = place.taken(message)
    place.someone_writes()
    place.clock.advance(3600)
    place.store.renew([lease], lease_s=LEASE_S)

    sent = place.resender().send(lease, message, ANSWER)

    assert place.webhook.asked == []
    assert sent.route is Route.PROACTIVE


@pytest.mark.parametrize(
    "refusal",
    [
        WebhookExpiredError(300001),
        WebhookRefusedError(430101, "unsafe link"),
        WebhookUnreachableError("no connection"),
    ],
)
def test_what_one_way_does_not_take_the_next_one_is_asked(place, refusal):
    message = envelope()
    lease = place.taken(message)
    place.someone_writes()
    place.webhook.dead = {message.session_webhook: refusal, LATER: refusal}

    sent = place.resender().send(lease, message, ANSWER, mark=False)

    assert place.webhook.asked == [message.session_webhook, LATER]
    assert sent.route is Route.PROACTIVE
    assert place.proactive.sent == [("user", "robot1", "staff1", "the answer")]
    assert place.steps(lease)[-1] == (1, 1, "proactive")


def test_a_conversation_that_dingtalk_throttles_is_left_alone_and_the_api_asked(place):
    """No other webhook of it, and nobody else who sends to it, is of any use for a while."""
    message = envelope()
    lease = place.taken(message)
    place.someone_writes()
    place.webhook.dead = {message.session_webhook: WebhookThrottledError(130101)}

    sent = place.resender().send(lease, message, ANSWER, mark=False)

    assert place.webhook.asked == [message.session_webhook]
    assert sent.route is Route.PROACTIVE
    assert place.steps(lease) == [(1, 1, "webhook"), (1, 1, "proactive")]


def test_a_session_that_is_the_later_messages_too_is_asked_once(place):
    """DingTalk gives a conversation one session for as long as it lasts."""
    message = envelope()
    lease = place.taken(message)
    place.someone_writes(session_webhook=message.session_webhook)
    place.webhook.answer_always = WebhookExpiredError(300001)

    place.resender().send(lease, message, ANSWER)

    assert place.webhook.asked == [message.session_webhook]


def test_a_group_gets_it_in_the_group(place):
    message = over(conversation="group")

    place.resender().send(place.taken(message), message, ANSWER, mark=False)

    assert place.proactive.sent == [("group", "robot1", "cid1", "the answer")]


def test_a_post_that_was_cut_off_ends_the_search(place):
    """Whoever sends it by another way may have it read twice."""
    message = envelope()
    lease = place.taken(message)
    place.someone_writes()
    place.webhook.answers = [WebhookUnreachableError("cut off", ambiguous=True)]

    with pytest.raises(
        InDoubtError, match=r"it may have arrived: its own webhook: .*cut off"
    ) as it:
        place.resender().send(lease, message, ANSWER)

    assert it.value.sent == 0
    assert len(place.webhook.asked) == 1
    assert place.proactive.sent == []


def test_a_proactive_message_may_be_in_doubt_too(place):
    message = over()
    place.proactive.answers = [OpenApiUnavailableError("unreachable", "cut off", ambiguous=True)]

    with pytest.raises(InDoubtError):
        place.resender().send(place.taken(message), message, ANSWER)


def test_when_no_way_is_left_the_error_tells_of_each(place):
    message = envelope()
    place.webhook.answer_always = WebhookExpiredError(300001)
    place.proactive.answers = [OpenApiRefusedError("Forbidden.AccessDenied", "no permission")]

    with pytest.raises(NotSentError) as it:
        place.resender().send(place.taken(message), message, ANSWER)

    assert not isinstance(it.value, InDoubtError)
    assert it.value.errcode == 300001
    assert it.value.passed == (
        "its own webhook: session webhook expired: errcode 300001",
        "no later message has a webhook that lives",
        "a proactive message: DingTalk API call failed: Forbidden.AccessDenied, 'no permission'",
    )
    assert SESSION not in f"{it.value!r} {it.value}"


@pytest.mark.parametrize(
    ("proactive", "more", "why"),
    [
        (None, {}, "DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"),
        ("recording", {"sender_staff_id": None}, "staff id"),
    ],
)
def test_a_proactive_message_needs_the_bots_credentials_and_somebody_to_reach(
    place, proactive, more, why
):
    message = over(session_webhook=None, **more)

    with pytest.raises(NotSentError, match=why) as it:
        place.resender(proactive=proactive).send(place.taken(message), message, ANSWER)

    assert it.value.passed[0] == "it came without a webhook"
    assert place.proactive.sent == []


def test_a_foreign_host_is_not_posted_to(place):
    """By the client itself, whatever the store holds."""
    foreign = "https://elsewhere.example/robot/sendBySession?session=stolen"
    message = envelope(session_webhook=foreign)
    client = WebhookClient(WebhookHosts.parse(["oapi.dingtalk.com"]))
    resender = place.resender(webhook=client, proactive=None)

    with pytest.raises(NotSentError, match="DINGTALK_WEBHOOK_HOSTS") as it:
        resender.send(place.taken(message), message, ANSWER)

    client.close()
    assert "stolen" not in str(it.value)


def test_it_says_which_question_it_answers_on_any_way(place):
    mark = f"补发 · Late answer to: 「{SECRET_WORDS}」"
    message = envelope()
    place.resender().send(place.taken(message), message, ANSWER)
    message = over(message_id="msg2", conversation_id="cid2")
    place.resender().send(place.taken(message), message, ANSWER)

    assert place.webhook.posted == [f"{mark}\nthe answer"]
    assert place.proactive.sent[0][-1] == f"{mark}\nthe answer"


LONG = [Markdown(title="t", text="\n\n".join(["x" * 900] * 40))]


def test_parts_that_had_arrived_are_not_sent_again(place):
    message = envelope()
    lease = place.taken(message)

    sent = place.resender().send(lease, message, LONG, sent=1)

    assert sent.parts == 3
    assert [text.partition("\n\n")[2][:5] for text in place.webhook.posted] == ["(2/3)", "xxxxx"]
    assert place.webhook.posted[1].startswith("(3/3)"), "the mark stands before the first alone"
    assert place.webhook.uuids == [f"{lease.task_id}-{number}" for number in (2, 3)]
    assert place.steps(lease) == [(2, 3, "webhook"), (3, 3, "webhook")]


def test_the_next_way_goes_on_where_the_one_before_ended(place):
    message = envelope()
    lease = place.taken(message)

    def dies_after_one() -> None:
        if place.webhook.posted:
            raise WebhookExpiredError(300001)

    place.webhook.at_post = dies_after_one
    sent = place.resender().send(lease, message, LONG)

    assert sent.route is Route.PROACTIVE
    assert [words.partition("\n")[0] for *_, words in place.proactive.sent] == ["(2/3)", "(3/3)"]
    assert [part for part, _, _ in place.steps(lease)] == [1, 2, 2, 3]


def test_how_far_it_came_is_known_when_it_fails_halfway(place):
    message = envelope()
    lease = place.taken(message)

    def dies_after_one() -> None:
        if place.webhook.posted:
            raise WebhookExpiredError(300001)

    place.webhook.at_post = dies_after_one
    with pytest.raises(NotSentError) as it:
        place.resender(proactive=None).send(lease, message, LONG)

    assert it.value.sent == 1
    facts: dict[str, Any] = {"errcode": None, "detail": ""}
    place.store.miss(lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, **facts)
    assert place.store.missed()[0].sent == 1


def test_one_that_is_sent_once_more_is_no_copy_to_dingtalk(place):
    message = envelope()
    lease = place.taken(message)

    place.resender().send(lease, message, ANSWER, again=True)

    [uuid] = place.webhook.uuids
    assert uuid != lease.task_id
    assert len(uuid or "") <= 64


def test_nothing_is_posted_for_a_message_that_somebody_else_has(place):
    message = envelope()
    lease = place.taken(message)
    place.clock.advance(LEASE_S + 1)
    place.store.claim(lease.task_id, owner="other", lease_s=LEASE_S, envelope=None)

    with pytest.raises(LeaseLostError):
        place.resender().send(lease, message, ANSWER)

    assert place.webhook.asked == []


def test_a_sealed_webhook_is_opened_with_the_key_and_passed_over_without(place):
    sealer = Sealer.from_setting(Fernet.generate_key().decode())
    message = over()
    lease = place.taken(message, sealer)
    place.someone_writes(sealer)

    with pytest.raises(NotSentError, match="a later message is sealed"):
        place.resender(proactive=None).send(lease, message, ANSWER)
    place.resender(proactive=None, sealer=sealer).send(lease, message, ANSWER)

    assert place.webhook.asked == [LATER]
