import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.envelope import (
    VERSION,
    Conversation,
    Envelope,
    EnvelopeError,
    UnsupportedVersionError,
)

RECEIVED = datetime(2026, 5, 4, 12, 30, 0, 250_000, tzinfo=UTC)
WEBHOOK = "https://oapi.dingtalk.com/robot/sendBySession?session=0123456789abcdef"

PARTS: dict[str, object] = {
    "attachments": [{"kind": "picture", "download_code": "code-1"}],
    "quoted": {"text": "said before", "attachments": [{"kind": "file", "name": "plan.pdf"}]},
    "mentions": [{"staff_id": "u300", "name": "Carol"}],
    "raw": {"senderPlatform": "Mac"},
    "earlier": [{"message_id": "m0", "attachments": [{"kind": "audio", "duration_ms": 4000}]}],
}


def envelope(**fields: object) -> Envelope:
    values = {
        "bot": "dingbot",
        "message_id": "msg1",
        "conversation_id": "cid1",
        "conversation": Conversation.GROUP,
        "sender_nick": "Zhang San",
        "text": "my salary is 1000",
        "session_webhook": WEBHOOK,
        "webhook_expires_at": RECEIVED + timedelta(minutes=90),
        "deadline": RECEIVED + timedelta(minutes=90, seconds=-2),
        "received_at": RECEIVED,
        "clock_offset_s": -1.5,
    }
    return Envelope.model_validate(values | fields)


def test_an_envelope_survives_the_broker():
    sent = envelope()
    assert Envelope.from_wire(json.loads(json.dumps(sent.to_wire()))) == sent


@given(text=st.text(), nick=st.text(), offset=st.floats(-1e6, 1e6), received=st.datetimes())
def test_whatever_people_write_survives_the_broker(text, nick, offset, received):
    sent = envelope(
        text=text,
        sender_nick=nick,
        clock_offset_s=offset,
        received_at=received.replace(tzinfo=UTC),
    )
    assert Envelope.from_wire(json.loads(json.dumps(sent.to_wire()))) == sent


def test_fields_of_a_newer_listener_are_handed_on_by_an_older_worker():
    data = envelope(**PARTS).to_wire() | {"translated": {"text": "hello", "of": ["a", 1]}}
    data["quoted"]["mood"] = "glad"
    data["attachments"][0]["width"] = 640
    data["earlier"][0]["mood"] = "sad"

    read = Envelope.from_wire(data)

    assert read.to_wire() == data
    assert "glad" not in repr(read.quoted)
    assert "sad" not in repr(read)


def test_every_part_of_a_message_survives_the_broker():
    sent = envelope(**PARTS)

    read = Envelope.from_wire(json.loads(json.dumps(sent.to_wire())))

    assert read == sent
    assert read.quoted is not None
    assert read.quoted.attachments[0].name == "plan.pdf"


def test_fields_a_listener_left_out_have_defaults():
    least = Envelope.from_wire(
        {"bot": "dingbot", "message_id": "m", "received_at": "2026-05-04T12:30:00Z"}
    )
    assert least.version == VERSION
    assert least.conversation is Conversation.PRIVATE
    assert least.deadline is None
    assert least.text == ""


def test_an_envelope_of_a_newer_version_is_told_apart_from_a_broken_one():
    with pytest.raises(UnsupportedVersionError, match="newer than 1: deploy workers first") as e:
        Envelope.from_wire(envelope().to_wire() | {"version": VERSION + 1})
    assert e.value.version == VERSION + 1


@pytest.mark.parametrize("version", ["200", 200.0, " 2 "])
def test_a_newer_version_in_another_spelling_is_told_apart_as_well(version):
    with pytest.raises(UnsupportedVersionError):
        Envelope.from_wire(envelope().to_wire() | {"version": version})


@pytest.mark.parametrize("data", [None, [], "text", 7, {}, {"version": "x"}])
def test_what_is_no_envelope_is_one_typed_error(data):
    with pytest.raises(EnvelopeError, match="not an envelope"):
        Envelope.from_wire(data)


def test_an_error_names_the_faulty_fields_and_never_their_values():
    data = envelope().to_wire() | {"received_at": "secret-1", "text": ["secret-2"], "bot": None}
    with pytest.raises(EnvelopeError) as e:
        Envelope.from_wire(data)
    assert all(name in str(e.value) for name in ("received_at", "text", "bot"))
    assert "secret" not in str(e.value)
    assert WEBHOOK not in str(e.value)
    assert e.value.__cause__ is None


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(EnvelopeError, match="received_at"):
        Envelope.from_wire(envelope().to_wire() | {"received_at": "2026-05-04T12:30:00"})


def test_repr_and_str_hide_what_a_person_wrote_and_the_webhook():
    for shown in (repr(envelope(conversation_title="Layoffs")), str(envelope())):
        assert "msg1" in shown
        assert "salary" not in shown
        assert "Zhang" not in shown
        assert "session=" not in shown
        assert "Layoffs" not in shown


def test_repr_hides_what_a_later_release_may_have_added():
    assert "salary" not in repr(envelope(quoted={"text": "my salary"}))


def test_an_envelope_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        envelope().text = "other"  # type: ignore[misc]
