"""Whatever an answer is made of, each of its parts fits, whichever way and with whatever note."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from dingwire.borders import json_bytes
from dingwire.replies import (
    MAX_BODY_BYTES,
    MAX_PROACTIVE_BYTES,
    Markdown,
    Reply,
    Text,
    proactive_message,
    webhook_body,
    with_note,
)
from worker.sending.handover import mark_of
from worker.sending.parts import parts_of, uuid_of

_words = st.text(st.sampled_from('ab 你好😀"\\\n\t|`#-'), min_size=1, max_size=300).map(
    lambda piece: f"w{piece}"
)
_long = st.tuples(_words, st.integers(1, 200)).map(lambda drawn: drawn[0] * drawn[1])
_ids = st.lists(st.text("abc123你", min_size=1, max_size=21), max_size=50, unique=True)
_names = st.text(st.sampled_from('a你"\\😀'), max_size=60)
_questions = st.text(st.sampled_from('a你"\\😀 \n\x00'), max_size=100)


@settings(max_examples=60)
@given(_long, st.booleans(), _ids, _names, _questions)
def test_every_part_fits_with_its_mentions_its_note_and_its_name(words, is_text, ids, name, asked):
    fields = {"at_user_ids": ids, "addressee": name}
    reply = Text(content=words, **fields) if is_text else Markdown(text=words, **fields)

    parts = parts_of([reply, Text(content="after")])

    assert parts[-1] == Text(content="after")
    for number, part in enumerate(parts):
        uuid = uuid_of("0" * 36, number, len(parts))
        for sent in (part, *with_note(part, mark_of({"text": asked}, "both"))):
            body = json.dumps(webhook_body(sent, msg_uuid=uuid), ensure_ascii=False)
            assert len(body.encode()) <= MAX_BODY_BYTES
            assert len(proactive_message(sent)[1].encode()) <= MAX_PROACTIVE_BYTES


@settings(max_examples=60)
@given(_long, st.booleans())
def test_the_parts_of_an_answer_are_the_same_whatever_became_of_the_first(words, is_text):
    """A delivery that goes on elsewhere cuts anew, and must find the same parts."""
    replies: list[Reply] = [Text(content=words) if is_text else Markdown(text=words)]

    assert parts_of(replies) == parts_of(replies)
    room = MAX_PROACTIVE_BYTES - 3000
    assert len(parts_of(replies)) == 1 or json_bytes(words) > room
