"""Files that are quoted, of which DingTalk often sends no code."""

import pytest
from cryptography.fernet import Fernet

from contract.content import Attachment, Quoted
from contract.envelope import Earlier, Envelope
from contract.sealing import IN_CLEAR, Sealer
from tests.unit.worker.answering_parts import Desk, envelope
from worker.agents import Message
from worker.agents.quoted_files import KEPT_S, QuotedFiles
from worker.store import StoreError

FILE = Attachment(kind="file", download_code="private-code", name="plan.pdf")
NAMELESS = Quoted(message_id="old", kind="file", attachments=(Attachment(name="plan.pdf"),))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


class Source:
    def download(self, code, *, to, **_):
        to.write_text(code)
        return to


def reader(message: Message) -> str:
    quoted = message.quoted
    if quoted is None or not quoted.attachments:
        return "nothing"
    return quoted.attachments[0].download().read_text()


@pytest.mark.parametrize("is_sealed", [False, True])
def test_who_quotes_a_file_gives_it_to_the_agent_again(desk, is_sealed):
    sealer = Sealer.from_setting(Fernet.generate_key().decode() if is_sealed else None)
    worker = desk.worker(reader, source=Source(), sealer=sealer)
    desk.answer(worker, envelope(message_id="old", attachments=(FILE,)))

    desk.answer(desk.worker(reader, source=Source(), sealer=sealer), envelope(quoted=NAMELESS))

    assert desk.webhook.posted == ["nothing", "private-code"]
    [note] = desk.store.remembered("attachments")
    assert ("private-code" in str(note.facts)) is not is_sealed


@pytest.mark.parametrize(
    "quoted",
    [
        Quoted(message_id="old", kind="picture"),
        Quoted(message_id="old", kind="file", attachments=(Attachment(),)),
    ],
)
def test_a_quote_that_says_only_its_kind_is_completed(desk, quoted):
    files = QuotedFiles(desk.store, IN_CLEAR)
    files.note(envelope(message_id="old", attachments=(FILE,)))

    assert files.completed(envelope(quoted=quoted)).quoted == quoted.model_copy(
        update={"attachments": (FILE,)}
    )


@pytest.mark.parametrize(
    "asking",
    [
        envelope(quoted=NAMELESS, conversation_id="another"),
        envelope(quoted=NAMELESS, bot="another"),
        envelope(quoted=NAMELESS.model_copy(update={"message_id": "another"})),
        envelope(quoted=NAMELESS.model_copy(update={"message_id": ""})),
        envelope(quoted=Quoted(message_id="old", kind="text", text="words")),
        envelope(quoted=Quoted(message_id="old", attachments=(Attachment(download_code="own"),))),
        envelope(),
    ],
)
def test_nothing_else_is_changed(desk, asking: Envelope):
    files = QuotedFiles(desk.store, IN_CLEAR)
    files.note(envelope(message_id="old", attachments=(FILE,)))

    assert files.completed(asking) is asking


def test_the_files_of_a_whole_turn_are_noted(desk):
    files = QuotedFiles(desk.store, IN_CLEAR)
    files.note(envelope(earlier=(Earlier(message_id="old", attachments=(FILE,)),)))

    quoted = files.completed(envelope(quoted=NAMELESS)).quoted
    assert quoted is not None
    assert quoted.attachments == (FILE,)


def test_a_day_later_it_is_forgotten(desk):
    files = QuotedFiles(desk.store, IN_CLEAR)
    files.note(envelope(message_id="old", attachments=(FILE,)))
    desk.clock.advance(KEPT_S + 1)

    asking = envelope(quoted=NAMELESS)
    assert files.completed(asking) is asking


def test_what_was_sealed_with_another_key_is_not_found(desk):
    one, other = (Sealer.from_setting(Fernet.generate_key().decode()) for _ in range(2))
    QuotedFiles(desk.store, one).note(envelope(message_id="old", attachments=(FILE,)))

    asking = envelope(quoted=NAMELESS)
    assert QuotedFiles(desk.store, other).completed(asking) is asking


def test_a_store_that_is_away_costs_the_file_and_not_the_message():
    class Away:
        def remember(self, *_, **__):
            raise StoreError("away")

        def recalled(self, *_):
            raise StoreError("away")

    files = QuotedFiles(Away(), IN_CLEAR)
    files.note(envelope(message_id="old", attachments=(FILE,)))

    asking = envelope(quoted=NAMELESS)
    assert files.completed(asking) is asking
