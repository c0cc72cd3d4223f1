"""Messages that no agent can read: said so, once, or left to the operator."""

import pytest

from contract.content import Attachment, Quoted
from contract.envelope import Earlier
from dingwire.errors import WebhookUnreachableError
from tests.unit.worker.answering_parts import Desk, envelope
from worker.agents import Message
from worker.outcome import FinalState
from worker.store import Reason
from worker.words import UNSUPPORTED


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


CARD = {"text": "", "kind": "interactiveCard"}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh", UNSUPPORTED.zh),
        ("en", UNSUPPORTED.en),
        ("both", f"{UNSUPPORTED.zh} · {UNSUPPORTED.en}"),
    ],
)
def test_the_sender_of_what_nobody_reads_is_told_so(desk, language, said):
    outcome = desk.answer(desk.worker(language=language), envelope(**CARD))

    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["outcome"] == "unsupported"
    assert desk.webhook.posted == [said]
    assert desk.agent_calls == []


def test_a_redelivery_of_it_says_nothing(desk):
    worker = desk.worker()
    desk.answer(worker, envelope(**CARD))

    again = desk.answer(desk.worker(owner="worker2"), envelope(**CARD))

    assert again.duplicate
    assert len(desk.webhook.posted) == 1


def test_it_is_told_by_the_next_attempt_when_the_first_fails(desk):
    worker = desk.worker()
    desk.webhook.answers = [WebhookUnreachableError("no connection")]

    first = desk.answer(worker, envelope(**CARD))
    outcome = desk.deliver_when_due(worker, first)

    assert outcome.state is FinalState.SUCCESS
    assert len(desk.webhook.posted) == 1
    assert desk.agent_calls == []


@pytest.mark.parametrize("kind", ["unknownMsgType", "interactiveCard", "chatRecord", "hologram"])
def test_without_anything_in_it_no_other_kind_is_run(desk, kind):
    desk.answer(desk.worker(), envelope(text="", kind=kind))

    assert desk.agent_calls == []


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "text", "text": ""},
        {"kind": "richText", "text": ""},
        {"kind": "picture", "text": "", "attachments": (Attachment(kind="picture"),)},
        {"kind": "hologram", "text": "words"},
        {"kind": "hologram", "text": "", "quoted": Quoted()},
        {"kind": "hologram", "text": "", "earlier": (Earlier(message_id="m0", text="before"),)},
    ],
)
def test_with_anything_in_it_the_agent_is_run(desk, fields):
    """Who mentions the bot without a word has said something, too."""
    desk.answer(desk.worker(), envelope(**fields))

    assert desk.agent_calls == ["msg1"]


def test_beyond_the_quota_nobody_is_answered_with_nonsense(desk):
    outcome = desk.answer(desk.worker(), envelope(text="", kind="text", error_code=20001))

    assert (outcome.state, outcome.reason, outcome.errcode) == (
        FinalState.FAILURE, Reason.QUOTA_USED_UP, 20001,
    )  # fmt: skip
    assert desk.agent_calls == []
    assert desk.webhook.posted == []
    missed = desk.missed()
    assert missed is not None
    assert missed.reason is Reason.QUOTA_USED_UP


def test_a_code_that_comes_with_content_is_no_obstacle(desk):
    desk.answer(desk.worker(), envelope(error_code=20001))

    assert desk.agent_calls == ["msg1"]


def test_an_agent_gets_a_file_that_is_gone_when_its_answer_is_out(desk):
    class Source:
        def download(self, code, *, robot_code, kind, to, name="", within_s=None):
            to.write_text(f"{code} {robot_code} {kind} {name} {within_s <= 300}")
            return to

    seen = []

    def agent(message: Message) -> str:
        path = message.attachments[0].download()
        seen.append(path)
        return path.read_text()

    picture = Attachment(kind="file", download_code="code1", name="plan.pdf")
    desk.answer(desk.worker(agent, source=Source()), envelope(attachments=(picture,)))

    assert desk.webhook.posted == ["code1 robot1 file plan.pdf True"]
    assert not seen[0].exists()
    assert not seen[0].parent.exists()


@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(1)])
def test_the_file_of_an_agent_that_fails_is_gone_as_well(desk, failure):
    class Source:
        def download(self, code, *, to, **_):
            to.write_text("x")
            return to

    seen = []

    def agent(message: Message) -> str:
        seen.append(message.attachments[0].download())
        raise failure

    outcome = desk.answer(
        desk.worker(agent, source=Source()), envelope(attachments=(Attachment(),))
    )

    assert outcome.reason is Reason.AGENT_FAILED
    assert not seen[0].parent.exists()


def test_an_agent_may_read_more_kinds_than_others(desk):
    """From ``raw``, where such a message has all that it came with."""

    def agent(message: Message) -> str:
        return str(message.raw["content"]["biz_custom_action_url"])

    agent.reads = {"interactiveCard"}  # type: ignore[attr-defined]
    raw = {"content": {"biz_custom_action_url": "dingtalk://document"}}
    worker = desk.worker(agent)

    desk.answer(worker, envelope(**CARD, raw=raw))
    desk.answer(worker, envelope(text="", kind="hologram", message_id="msg2"))

    assert desk.webhook.posted == ["dingtalk://document", UNSUPPORTED.in_("both")]


@pytest.mark.parametrize("reads", [None, 7, "interactiveCard"])
def test_what_is_no_set_of_kinds_is_none(desk, reads):
    def agent(message: Message) -> str:
        return "read"

    agent.reads = reads  # type: ignore[attr-defined]

    desk.answer(desk.worker(agent), envelope(**CARD))

    assert desk.webhook.posted == [UNSUPPORTED.in_("both")]
