"""Everything people send, all the way: simulator, listener, worker, agent, reply."""

import hashlib
from collections.abc import Iterator

import pytest

from dingwire.simulator.records import Message
from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for
from worker.words import UNSUPPORTED

AGENT = """
import hashlib

from worker.agents import MediaError, Message

async def agent(message: Message) -> str:
    quoted = message.quoted
    attachments = message.attachments + (quoted.attachments if quoted else ())
    shown = [message.conversation, message.text]
    for each in attachments:
        try:
            path = await each.adownload()
        except MediaError as error:
            shown.append(type(error).__name__)
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shown.append(f"{each.kind}{path.suffix} {each.name} {digest}")
    if quoted:
        shown.append(f"quoting {quoted.text}")
    shown += [f"mentioning {each.staff_id}" for each in message.mentions if not each.is_bot]
    return " / ".join(shown)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory, redis_url) -> Iterator[WorkerPlace]:
    with place(tmp_path_factory.mktemp("content"), redis_url) as running:
        (running.folder / "keeper.py").write_text(AGENT)
        running.worker(AGENT="keeper:agent", BOT_LANGUAGE="en", MEDIA_MAX_MB="0.1")
        running.listener()
        yield running


def _answered(here: WorkerPlace, message: Message) -> str:
    return here.simulator.until_answered(message, 120)


@pytest.mark.parametrize(
    ("kind", "name", "start"),
    [
        ("picture", "cat.png", b"\x89PNG\r\n\x1a\n"),
        ("audio", "hi.amr", b"#!AMR\n"),
        ("video", "film.mp4", b"\x00\x00\x00\x18ftypisom"),
        ("file", "plan.pdf", b"%PDF-1.4"),
    ],
)
def test_a_file_reaches_the_agent_and_is_gone_afterwards(here, kind, name, start):
    content = start + b"." * 1000
    file = here.simulator.file(content, name)

    answer = _answered(here, here.simulator.say("words", kind=kind, file=file))

    ending = name[name.index(".") :]
    assert f"{kind}{ending}" in answer
    assert hashlib.sha256(content).hexdigest() in answer
    kept = here.folder / "data" / "attachments"
    wait_for(lambda: not list(kept.iterdir()), what="the end of the message's folder")


def test_a_quoted_picture_and_who_was_mentioned_reach_it_in_a_group(here):
    content = b"\x89PNG\r\n\x1a\n quoted"
    old = here.simulator.say("", kind="picture", file=here.simulator.file(content, "cat.png"))
    _answered(here, old)

    said = here.simulator.say("and this?", group=True, quote=old, mentions=["carol"])
    answer = _answered(here, said)

    assert answer.startswith("group / and this?")
    assert hashlib.sha256(content).hexdigest() in answer
    assert "mentioning carol" in answer


def test_a_code_that_has_ended_and_a_large_file_are_the_agents_to_explain(here):
    small = here.simulator.file(b"\x89PNG\r\n\x1a\n", "cat.png")
    large = here.simulator.file(b"\x89PNG\r\n\x1a\n" + b"." * 200_000, "cat.png")

    assert "MediaTooLargeError" in _answered(
        here, here.simulator.say("", kind="picture", file=large)
    )
    here.simulator.switch(download_code_ttl_s=0.0)
    try:
        said = here.simulator.say("", kind="picture", file=small)
        assert "MediaRefusedError" in _answered(here, said)
    finally:
        here.simulator.switch(download_code_ttl_s=3600.0)


@pytest.mark.parametrize("kind", ["interactiveCard", "unknownMsgType"])
def test_what_no_agent_reads_is_answered_with_a_notice(here, kind):
    assert _answered(here, here.simulator.say("", kind=kind)) == UNSUPPORTED.en


def test_beyond_the_quota_nothing_is_said_and_the_operator_sees_it(here):
    here.simulator.switch(quota_used_up=True)
    try:
        said = here.simulator.say("lost words", "dave")
    finally:
        here.simulator.switch(quota_used_up=False)

    here.simulator.say("the next one", "dave")
    here.simulator.until(
        lambda it: any("the next one" in each.text for each in it.accepted),
        120,
        what="the answer to the next message",
    )

    [missed] = here.missed()
    assert (missed["message_id"], missed["reason"]) == (said.message_id, "quota_used_up")
    shown = [each.text for each in here.simulator.accepted]
    assert [text for text in shown if "/" in text][-1] == "private / the next one"
