"""What an agent sees of a message."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.content import Attachment as Code
from contract.content import Mention, Quoted
from contract.envelope import Conversation, Earlier, Envelope
from contract.sealing import Sealer
from dingwire.errors import MediaError, MediaRefusedError
from worker.agents import Message
from worker.store.records import with_earlier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PICTURE = Code(kind="picture", download_code="code-1")
FILE = Code(kind="file", download_code="code-2", name="plan.pdf", size=7)
ALICE = Mention(staff_id="u100", name="Alice")


def envelope(**fields: object) -> Envelope:
    values = {"bot": "ding1", "message_id": "m9", "text": "look", "received_at": NOW}
    return Envelope.model_validate(values | fields)


def test_everything_that_was_sent_is_in_it():
    message = Message.of(
        envelope(
            conversation=Conversation.GROUP,
            sender_nick="Bob",
            sender_staff_id="u200",
            sender_id="$:bob",
            sender_is_admin=True,
            attachments=(PICTURE, FILE),
            quoted=Quoted(text="said before", attachments=(FILE,), is_from_bot=True),
            mentions=(ALICE,),
            raw={"senderPlatform": "Mac"},
        )
    )

    assert (message.sender.nick, message.sender.staff_id) == ("Bob", "u200")
    assert message.sender.is_admin
    assert message.is_group
    assert [(each.kind, each.name, each.size) for each in message.attachments] == [
        ("picture", "", None),
        ("file", "plan.pdf", 7),
    ]
    assert message.quoted is not None
    assert (message.quoted.text, message.quoted.is_from_bot) == ("said before", True)
    assert message.quoted.attachments[0].name == "plan.pdf"
    assert message.mentions == (ALICE,)
    assert message.raw == {"senderPlatform": "Mac"}


def test_a_message_without_parts_has_none():
    message = Message.of(envelope())

    assert (message.attachments, message.quoted, message.mentions) == ((), None, ())
    assert not message.is_group


def test_a_turn_of_several_messages_has_the_parts_of_all():
    earlier = (
        Earlier(message_id="m7", attachments=(PICTURE,), quoted=Quoted(text="first")),
        Earlier(message_id="m8", text="and", mentions=(ALICE,)),
    )

    message = Message.of(envelope(earlier=earlier, attachments=(FILE,), mentions=(ALICE,)))

    assert message.text == "and\nlook"
    assert [each.kind for each in message.attachments] == ["picture", "file"]
    assert message.quoted is not None
    assert message.quoted.text == "first"
    assert message.mentions == (ALICE,)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_a_store_merges_keeps_its_parts(is_sealed):
    """Sealed ones are opened as a whole, and only their words and parts are kept."""
    from cryptography.fernet import Fernet

    sealer = Sealer.from_setting(Fernet.generate_key().decode() if is_sealed else None)
    first = envelope(message_id="m1", text="", attachments=(PICTURE,), quoted=Quoted(text="old"))
    last = envelope(message_id="m2")
    packed = [json.dumps(sealer.seal(each.to_wire())) for each in (last, first)]

    merged = with_earlier(packed[0], packed[1])

    read = Envelope.from_wire(sealer.unseal(merged))
    message = Message.of(read)
    assert [each.message_id for each in read.earlier] == ["m1"]
    assert read.earlier[0].attachments == (PICTURE,)
    assert message.text == "look"
    assert message.quoted is not None
    assert message.quoted.text == "old"


def test_nothing_private_is_shown():
    message = Message.of(
        envelope(
            sender_nick="private-nick",
            attachments=(Code(download_code="private-code", name="private-name"),),
            quoted=Quoted(text="private-text", sender_nick="private-nick"),
            mentions=(Mention(name="private-name"),),
            raw={"x": "private-raw"},
        )
    )

    assert "private" not in repr(message).replace("conversation='private'", "")
    assert "private" not in repr(message.sender)


def test_an_attachment_is_fetched_when_the_agent_asks():
    asked = []

    def fetch(code: Code) -> Path:
        asked.append(code.download_code)
        return Path("/folder/file")

    [picture] = Message.of(envelope(attachments=(PICTURE,)), fetch).attachments

    assert asked == []
    assert picture.download() == Path("/folder/file")
    assert asked == ["code-1"]


async def test_an_async_agent_awaits_it_and_blocks_nobody():
    loop_turns = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fetch(_code: Code) -> Path:
        asyncio.run_coroutine_threadsafe(loop_turns.wait(), loop).result(60)
        return Path("/folder/file")

    [picture] = Message.of(envelope(attachments=(PICTURE,)), fetch).attachments
    waiting = asyncio.ensure_future(picture.adownload())
    await asyncio.sleep(0)
    loop_turns.set()

    assert await asyncio.wait_for(waiting, 60) == Path("/folder/file")


async def test_what_goes_wrong_is_raised_where_it_is_awaited():
    def fetch(_code: Code) -> Path:
        raise MediaRefusedError("its code is too old")

    [picture] = Message.of(envelope(attachments=(PICTURE,)), fetch).attachments

    with pytest.raises(MediaRefusedError, match="too old"):
        await picture.adownload()


async def test_a_blocking_download_is_refused_on_an_event_loop():
    """It would stop every other agent of the process."""
    [picture] = Message.of(envelope(attachments=(PICTURE,))).attachments

    with pytest.raises(RuntimeError, match="await attachment"):
        picture.download()


def test_a_message_that_nobody_works_on_has_nothing_to_fetch():
    [picture] = Message.of(envelope(attachments=(PICTURE,))).attachments

    with pytest.raises(MediaError, match="no connection"):
        picture.download()
