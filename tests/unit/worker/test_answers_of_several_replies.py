"""An answer of several replies, of any kind, on its way out."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.envelope import Conversation, Envelope
from contract.routing import task_id
from dingwire.errors import (
    MediaNotUploadedError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
    WebhookUnreachableError,
)
from dingwire.replies import (
    Card,
    FeedCard,
    FeedLink,
    File,
    Image,
    Link,
    Markdown,
    Reply,
    Text,
    Video,
    replies_from_json,
)
from tests.unit.worker.answering_parts import SECRET_WORDS, Desk, envelope
from worker.outcome import FinalState
from worker.sending.api_gate import PACED
from worker.store import Reason

ADDRESS = "https://example.com/"
LINK = Link(title="t", text="x", url=ADDRESS)
FEED = FeedCard(links=[FeedLink(title="t", url=ADDRESS, picture=ADDRESS)])
PICTURE = Image(media_id="@lADpicture")
REPORT = File(media_id="@lADfile", name="report.pdf")
LONG = "\n\n".join(f"paragraph {number}: " + "字" * 900 for number in range(6))
GROUP = envelope(conversation=Conversation.GROUP)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def _steps(desk: Desk, message: Envelope | None = None) -> list[tuple[Any, ...]]:
    message = message or envelope()
    story = desk.store.story(task_id(message.bot, message.message_id))
    assert story is not None
    sends = [step.facts for step in story.steps if step.name == "sending"]
    return [(facts["part"], facts["of"], facts["route"]) for facts in sends]


def test_several_replies_are_sent_in_order(desk):
    outcome = desk.answer(desk.worker(desk.agent(["one", LINK, "# two"])))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["one", "[link]", "# two"]
    assert desk.webhook.uuids == [f"{desk.record()['task_id']}-{n}" for n in (1, 2, 3)]


def test_only_the_long_one_of_several_is_numbered(desk):
    desk.answer(desk.worker(desk.agent(["before", LONG, "after"])))

    before, first, second, after = desk.webhook.posted
    assert (before, after) == ("before", "after")
    assert first.startswith("(1/2)")
    assert second.startswith("(2/2)")


def test_a_delivery_goes_on_with_the_reply_that_failed(desk):
    desk.webhook.at_post = lambda: desk.webhook.answers.extend(
        [WebhookUnreachableError("no connection")] if desk.webhook.attempts == 2 else []
    )
    worker = desk.worker(desk.agent(["one", LINK, "three"]))

    outcome = desk.answer(worker)
    outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["one", "[link]", "three"]
    assert len(desk.agent_calls) == 1


@pytest.mark.parametrize("nothing", [None, "", [], [None, " "]])
def test_nothing_is_silence(desk, nothing):
    outcome = desk.answer(desk.worker(desk.agent(nothing)))

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "silent")
    assert desk.webhook.posted == []


def test_what_is_no_reply_fails_the_agent_and_names_its_type(desk):
    outcome = desk.answer(desk.worker(desk.agent(["fine", {"text": SECRET_WORDS}])))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    assert outcome.detail == (
        "returned a list whose item 2 is dict, which is neither text nor a reply"
    )


@pytest.mark.parametrize(
    ("message", "receiver"),
    [(envelope(), ("user", "robot1", "staff1")), (GROUP, ("group", "robot1", "cid1"))],
)
def test_what_no_webhook_carries_goes_by_the_api_in_its_place(desk, message, receiver):
    outcome = desk.answer(desk.worker(desk.agent(["look", PICTURE, "nice?"])), message)

    assert desk.webhook.posted == ["look", "nice?"]
    assert desk.proactive.sent == [(*receiver, "[image]")]
    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["route"] == "proactive+webhook"
    assert (outcome.facts["parts"], outcome.facts["proactive_parts"]) == (3, 1)
    assert _steps(desk) == [(1, 3, "webhook"), (2, 3, "proactive"), (3, 3, "webhook")]


def test_a_card_is_delivered_by_its_own_api_under_a_name_that_stays(desk):
    card = Card(template_id="a.schema", values={"n": 1}, text="one")

    desk.answer(desk.worker(desk.agent(card)))

    ((kind, path, place, name),) = desk.proactive.sent
    assert (kind, place) == ("card", "dtv1.card//IM_ROBOT.staff1")
    assert path.endswith("/createAndDeliver")
    assert name == desk.record()["task_id"]


@pytest.mark.parametrize(
    ("message", "proactive", "why"),
    [
        (envelope(sender_staff_id=None), "recording", "staff id"),
        (envelope(), None, "DINGTALK_CLIENT_SECRET"),
    ],
)
def test_without_a_way_by_the_api_the_closest_form_goes_by_webhook(
    desk, caplog, message, proactive, why
):
    with caplog.at_level(logging.WARNING):
        outcome = desk.answer(
            desk.worker(desk.agent([PICTURE, REPORT]), proactive=proactive), message
        )

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["![](@lADpicture)", "[文件 · File] report.pdf"]
    degraded = [r for r in caplog.records if getattr(r, "action", "") == "reply_degraded"]
    assert [r.kind for r in degraded] == ["image", "file"]
    assert all(why in r.getMessage() for r in degraded)
    assert "report" not in caplog.text


def test_what_the_api_refuses_goes_by_webhook_in_its_closest_form(desk):
    desk.proactive.answers = [OpenApiRefusedError("Forbidden.AccessDenied.X", "no permission")]

    outcome = desk.answer(desk.worker(desk.agent(PICTURE)))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["![](@lADpicture)"]
    assert _steps(desk) == [(1, 1, "proactive"), (1, 1, "webhook")]


@pytest.mark.parametrize(
    "error", [OpenApiUnavailableError("http 503"), OpenApiThrottledError("too fast", "", 61)]
)
def test_what_the_api_may_take_later_is_tried_again(desk, error):
    worker = desk.worker(desk.agent(["look", PICTURE]))
    desk.proactive.answers = [error]

    outcome = desk.answer(worker)
    assert outcome.retry_in_s is not None
    outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["look"]
    assert [sent[-1] for sent in desk.proactive.sent] == ["[image]"]


def test_an_api_that_has_no_time_does_not_hold_up_what_is_behind(desk):
    desk.proactive.answers = [OpenApiUnavailableError("http 503")] * 10
    worker = desk.worker(desk.agent(["look", PICTURE, "nice?"]))

    outcome = desk.answer(worker)
    while outcome.retry_in_s is not None:
        outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["look", "![](@lADpicture)", "nice?"]
    assert len(desk.proactive.answers) == 6


def test_an_api_that_all_workers_leave_alone_is_not_waited_for_without_end(desk):
    desk.proactive.answers = [OpenApiThrottledError(PACED, "", 60)] * 10
    worker = desk.worker(desk.agent([PICTURE, "nice?"]))

    outcome = desk.answer(worker)
    while outcome.retry_in_s is not None:
        outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["![](@lADpicture)", "nice?"]
    assert len(desk.proactive.answers) == 6


def test_waiting_for_our_own_calls_counts_as_no_attempt(desk):
    desk.proactive.answers = [OpenApiThrottledError(PACED, "", 0.5)] * 6
    worker = desk.worker(desk.agent(PICTURE))

    outcome = desk.answer(worker)
    while outcome.retry_in_s is not None:
        outcome = desk.deliver_when_due(worker, outcome)

    assert [sent[-1] for sent in desk.proactive.sent] == ["[image]"]


@pytest.mark.parametrize("code", ["too fast", PACED])
def test_an_api_that_has_time_only_after_the_deadline_is_not_waited_for(desk, code):
    desk.proactive.answers = [OpenApiThrottledError(code, "", 60)]
    message = envelope(deadline=desk.clock.now + timedelta(seconds=50))

    outcome = desk.answer(desk.worker(desk.agent(["look", PICTURE])), message)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["look", "![](@lADpicture)"]


def test_a_kind_that_a_rescue_cannot_send_goes_in_its_closest_form(desk):
    desk.proactive.answers = [OpenApiRefusedError("invalidParameter.param.invalid")]
    agent = desk.agent([PICTURE, "two"], takes_s=3600)

    outcome = desk.answer(desk.worker(agent, policy="rescue"))

    assert outcome.state is FinalState.RESCUED
    assert [sent[-1] for sent in desk.proactive.sent] == ["![](@lADpicture)", "two"]


def test_a_send_that_may_have_arrived_is_in_doubt(desk, caplog):
    worker = desk.worker(desk.agent(PICTURE))
    desk.proactive.answers = [OpenApiUnavailableError("unreachable", "", ambiguous=True)]

    with caplog.at_level(logging.WARNING):
        desk.answer(worker)

    assert "reply_in_doubt" in {getattr(r, "action", "") for r in caplog.records}
    assert desk.record()["in_doubt"]


def test_a_rescue_sends_what_only_webhooks_carry_in_its_closest_form(desk):
    agent = desk.agent(["one", FEED, PICTURE], takes_s=3600)

    outcome = desk.answer(desk.worker(agent, policy="rescue"))

    assert outcome.state is FinalState.RESCUED
    closest = FEED.closest().text
    assert [sent[-1] for sent in desk.proactive.sent] == ["one", closest, "[image]"]
    assert desk.webhook.posted == []


def test_a_kept_answer_of_several_replies_is_handed_over_whole(desk):
    desk.answer(desk.worker(desk.agent([PICTURE, "two"], takes_s=3600)))
    fresh = envelope(message_id="fresh", deadline=desk.clock.now.replace(year=2027))

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh)

    mark, two, new = desk.webhook.posted
    assert mark.startswith("补发 · Late answer to:")
    assert (two, new) == ("two", "new")
    assert [sent[-1] for sent in desk.proactive.sent] == ["[image]"]


def test_an_answer_is_kept_as_it_will_be_sent(desk):
    desk.answer(desk.worker(desk.agent(["one", LINK], takes_s=3600)))

    missed = desk.missed()
    assert missed is not None
    assert replies_from_json(missed.answer) == [Text(content="one"), LINK]


def test_one_reply_is_kept_so_that_the_release_before_can_send_it(desk):
    desk.answer(desk.worker(desk.agent("# one", takes_s=3600)))

    assert json.loads(desk.missed().answer) == {"kind": "markdown", "title": "one", "text": "# one"}


def test_the_sender_is_mentioned_in_the_first_part_alone(desk):
    seen: list[Reply] = []
    take = desk.webhook.post

    def post(url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        seen.append(reply)
        take(url, reply, msg_uuid=msg_uuid)

    desk.webhook.post = post

    desk.answer(desk.worker(desk.agent([LONG, "more"]), at_sender=True), GROUP)

    mentions = [reply.at_user_ids for reply in seen if isinstance(reply, Text | Markdown)]
    assert mentions == [("staff1",), (), ()]


def test_content_is_uploaded_before_the_answer_is_kept(desk):
    """Another worker, that has no such file, could send it."""
    kept: list[Any] = []
    desk.uploads.at_upload = lambda: kept.append(desk.record()["answer"])
    film = Video(data=b"film", name="a.mp4", duration_s=3, cover=Image(data=b"cover"))

    desk.answer(desk.worker(desk.agent(["look", film], takes_s=3600)))

    assert kept == [None, None]
    assert replies_from_json(desk.missed().answer) == [
        Text(content="look"),
        Video(
            media_id="@uploaded2",
            name="a.mp4",
            duration_s=3,
            cover=Image(media_id="@uploaded1"),
        ),
    ]


@pytest.mark.parametrize(
    "error",
    [OpenApiRefusedError("40005", "no such type"), MediaNotUploadedError("it has more than 20 MB")],
)
def test_an_upload_that_fails_loses_no_answer(desk, caplog, error):
    desk.uploads.answers = [error]
    report = File(path="/srv/salaries.pdf", name="report.pdf")

    with caplog.at_level(logging.WARNING):
        outcome = desk.answer(desk.worker(desk.agent(["look", report])))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["look", "[文件 · File] report.pdf"]
    (degraded,) = [r for r in caplog.records if getattr(r, "action", "") == "reply_degraded"]
    assert str(error) in degraded.getMessage()
    assert "salaries" not in caplog.text
    assert "report.pdf" not in caplog.text


def test_an_upload_is_tried_twice(desk):
    desk.uploads.answers = [OpenApiUnavailableError("http 503")]

    desk.answer(desk.worker(desk.agent(File(data=b"x", name="a.pdf"))))

    assert [sent[-1] for sent in desk.proactive.sent] == ["[file]"]


def test_without_credentials_nothing_is_uploaded(desk):
    desk.answer(desk.worker(desk.agent(Image(data=b"x", name="a.png")), proactive=None))

    assert desk.uploads.uploaded == []
    assert desk.webhook.posted == ["[图片 · Picture] a.png"]
