"""Sealing hides what is private, and nothing that routes, orders or judges a message."""

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deadline import Timeliness, judge
from contract.envelope import Conversation, Earlier, Envelope
from contract.report import LostMessage
from contract.sealing import Sealer, SealError
from contract.turn import Order, lane, place

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PRIVATE = {
    "text": "what-was-written \ud83d\x00",
    "sender_nick": "nick-of-sender",
    "conversation_title": "title-of-group",
    "session_webhook": "https://oapi.dingtalk.com/robot/sendBySession?session=key-to-chat",
    "attachments": [{"kind": "file", "download_code": "code-of-file", "name": "name-of-file.pdf"}],
    "quoted": {"text": "words-of-quote", "sender_nick": "nick-of-quote"},
    "mentions": [{"staff_id": "staff-mentioned", "name": "name-mentioned"}],
    "raw": {"fieldOfTomorrow": "words-in-raw"},
}
WORDS = [
    "what-was-written", "nick-of-sender", "title-of-group", "key-to-chat", "code-of-file",
    "name-of-file", "words-of-quote", "nick-of-quote", "staff-mentioned", "name-mentioned",
    "words-in-raw",
]  # fmt: skip
ENVELOPE = Envelope.model_validate(
    {
        "bot": "ding1",
        "message_id": "msg2",
        "push_id": "push2",
        "conversation_id": "cid1",
        "conversation": Conversation.GROUP,
        "sender_id": "$:LWCP_v1:$abc",
        "sender_staff_id": "manager4220",
        "kind": "richText",
        "previous_message_id": "msg1",
        "webhook_expires_at": NOW + timedelta(minutes=90),
        "deadline": NOW + timedelta(minutes=89),
        "promise_at": NOW + timedelta(minutes=1),
        "created_at": NOW - timedelta(seconds=1),
        "received_at": NOW,
        "spooled_at": NOW,
        "enqueued_at": NOW,
        "clock_offset_s": 1.5,
        **PRIVATE,
    }
)
# The same in every run, as some are in the names of tests.
OLD, NEW, OTHERS = (urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"x"))


@pytest.fixture
def sealer() -> Sealer:
    return Sealer.from_setting(NEW)


def test_nothing_private_is_left_in_clear(sealer):
    shown = json.dumps(sealer.seal(ENVELOPE.to_wire()))

    assert all(word in json.dumps(ENVELOPE.to_wire()) for word in WORDS)
    assert not [word for word in WORDS if word in shown]


def test_it_opens_to_what_it_was(sealer):
    wire = ENVELOPE.to_wire()
    travelled = json.loads(json.dumps(sealer.seal(wire)))

    assert sealer.unseal(travelled) == wire
    assert Envelope.from_wire(sealer.unseal(travelled)) == ENVELOPE


def test_what_routes_orders_and_judges_a_message_is_read_without_a_key(sealer):
    wire = sealer.seal(ENVELOPE.to_wire())
    sealed = Envelope.from_wire(wire)

    assert lane(sealed, Order.SENDER) == lane(ENVELOPE, Order.SENDER)
    assert place(sealed) == place(ENVELOPE)
    assert sealed.deadline is not None
    assert judge(sealed.deadline, deadline=sealed.deadline, clock_offset=timedelta()) is (
        Timeliness.EXPIRED
    )
    in_clear = {name: value for name, value in wire.items() if name != "sealed"}
    assert in_clear == {n: v for n, v in ENVELOPE.to_wire().items() if n not in PRIVATE}


def test_a_lost_message_is_reported_from_its_sealed_envelope(sealer):
    wire = ENVELOPE.to_wire()

    assert LostMessage.model_validate(sealer.seal(wire)) == LostMessage.model_validate(wire)


def test_a_field_of_a_later_release_is_sealed_with_the_rest(sealer):
    wire = {**ENVELOPE.to_wire(), "invented_later": "what-was-written"}

    assert "invented_later" not in sealer.seal(wire)
    assert sealer.unseal(sealer.seal(wire)) == wire


def test_sealing_twice_is_sealing_once(sealer):
    once = sealer.seal(ENVELOPE.to_wire())

    assert sealer.seal(once) == once


def test_what_was_merged_before_is_sealed_text_by_text(sealer):
    earlier = (Earlier(message_id="m1", text="first-text"), Earlier(message_id="m2", text="next"))
    wire = ENVELOPE.model_copy(update={"earlier": earlier}).to_wire()
    sealed = sealer.seal(wire)

    assert [entry["message_id"] for entry in sealed["earlier"]] == ["m1", "m2"]
    assert "first-text" not in json.dumps(sealed)
    assert sealer.unseal(sealed) == wire


@pytest.mark.parametrize("is_last_sealed", [True, False])
def test_what_the_store_merged_is_opened_to_its_texts(sealer, is_last_sealed):
    """A key may have been set while messages waited, so that some are sealed and some are not."""
    first = sealer.seal(ENVELOPE.model_copy(update={"message_id": "m1"}).to_wire())
    last = ENVELOPE.to_wire()
    merged = {
        **(sealer.seal(last) if is_last_sealed else last),
        "earlier": [
            {"message_id": "m0", "text": "in clear"},
            {"message_id": "m1", "sealed": first["sealed"]},
        ],
    }

    assert sealer.unseal(merged)["earlier"] == [
        {"message_id": "m0", "text": "in clear"},
        {
            "message_id": "m1",
            **{
                name: ENVELOPE.to_wire()[name]
                for name in ("text", "attachments", "quoted", "mentions")
            },
        },
    ]


def test_without_a_key_nothing_is_sealed_and_what_is_in_clear_is_read():
    in_clear = Sealer.from_setting(None)
    wire = ENVELOPE.to_wire()

    assert not in_clear.is_sealing
    assert in_clear.seal(wire) is wire
    assert in_clear.unseal(wire) is wire
    assert in_clear.seal_text("answer") == in_clear.unseal_text("answer") == "answer"


def test_what_is_in_clear_is_read_with_a_key_too(sealer):
    assert sealer.is_sealing
    assert sealer.unseal(ENVELOPE.to_wire()) == ENVELOPE.to_wire()
    assert sealer.unseal_text('{"kind": "text"}') == '{"kind": "text"}'


def test_a_kept_answer_is_sealed_and_opened(sealer):
    sealed = sealer.seal_text("the answer \ud83d")

    assert "answer" not in sealed
    assert sealer.seal_text(sealed) == sealed
    assert sealer.unseal_text(sealed) == "the answer \ud83d"


def test_the_newest_key_seals_and_the_older_ones_still_open():
    before, during = Sealer.from_setting(OLD), Sealer.from_setting(f"{NEW}, {OLD}")
    after = Sealer.from_setting(NEW)
    wire = ENVELOPE.to_wire()

    assert during.unseal(before.seal(wire)) == wire
    assert after.unseal(during.seal(wire)) == wire
    assert after.unseal_text(during.seal_text("answer")) == "answer"
    with pytest.raises(SealError):
        before.unseal(during.seal(wire))


def test_a_fingerprint_tells_newest_keys_apart_and_nothing_of_them():
    newest = Sealer.from_setting(NEW).fingerprint

    assert newest == Sealer.from_setting(f" {NEW}, {OLD}").fingerprint
    assert newest != Sealer.from_setting(f"{OLD},{NEW}").fingerprint
    assert newest is not None
    assert len(newest) == 8
    assert newest not in NEW
    assert Sealer.from_setting(None).fingerprint is None


@pytest.mark.parametrize(
    ("keys", "says"),
    [(None, "ENVELOPE_KEY is not set"), (OTHERS, "sealed with a key that is not in ENVELOPE_KEY")],
)
def test_what_cannot_be_opened_says_why_and_shows_nothing(sealer, keys, says):
    sealed, text = sealer.seal(ENVELOPE.to_wire()), sealer.seal_text("answer")
    merged = {**ENVELOPE.to_wire(), "earlier": [{"message_id": "m1", "sealed": sealed["sealed"]}]}
    stranger = Sealer.from_setting(keys)

    for attempt in (
        lambda: stranger.unseal(sealed),
        lambda: stranger.unseal(merged),
        lambda: stranger.unseal_text(text),
    ):
        with pytest.raises(SealError, match=says) as caught:
            attempt()
        assert sealed["sealed"] not in str(caught.value)
        assert NEW not in str(caught.value)
        assert OTHERS not in str(caught.value)


@pytest.mark.parametrize("token", ["", "gAAAAA", "钉钉", 5, None, {"a": 1}])
def test_a_token_that_is_none_is_told_like_a_wrong_key(sealer, token):
    with pytest.raises(SealError):
        sealer.unseal({**ENVELOPE.to_wire(), "sealed": token})


def test_an_answer_in_the_place_of_a_message_is_refused(sealer):
    answer = sealer.seal_text("answer").removeprefix("sealed:")

    with pytest.raises(SealError):
        sealer.unseal({**ENVELOPE.to_wire(), "sealed": answer})


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["sealed", "text"]), inner),
)


@given(sealed=_JSON, earlier=_JSON)
def test_whatever_comes_from_the_broker_is_opened_or_refused(sealed, earlier):
    sealer = Sealer.from_setting(NEW)

    for wire in ({"sealed": sealed, "earlier": earlier}, {"earlier": earlier}):
        with suppress(SealError):
            assert isinstance(sealer.unseal(wire), dict)


def test_a_changed_token_does_not_open(sealer):
    token = sealer.seal(ENVELOPE.to_wire())["sealed"]
    changed = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]

    with pytest.raises(SealError):
        sealer.unseal({**ENVELOPE.to_wire(), "sealed": changed})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("hunter2", "key 1 is not a Fernet key"),
        (f"{NEW},hunter2", "key 2 is not a Fernet key"),
        (f"{NEW},{OLD[:-4]}hunter2", "key 2 is not a Fernet key"),
        (f"{NEW},schlüssel-hunter2", "key 2 is not a Fernet key"),
        (" , ", "holds no key"),
    ],
)
def test_a_bad_key_is_named_by_its_place_and_never_shown(keys, says):
    with pytest.raises(ValueError, match=says) as caught:
        Sealer.from_setting(keys)

    assert "hunter2" not in str(caught.value)
    assert NEW not in str(caught.value)
    assert "Fernet.generate_key()" in str(caught.value)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(ValueError, match=r"pip install 'celery-dingtalk\[sealed\]'"):
        Sealer.from_setting(NEW)


def test_the_listener_does_not_load_the_package_for_nothing():
    loaded = "import sys, listener.service; sys.exit('cryptography' in sys.modules)"

    subprocess.run([sys.executable, "-c", loaded], check=True)
