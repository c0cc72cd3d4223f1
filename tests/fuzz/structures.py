"""Hypothesis strategies for what the targets read: right in shape, wild in content.

Their examples are inputs themselves, and more corpus for the mutator.
"""

import json

from hypothesis import strategies as st

__all__ = ["envelopes", "frames", "payloads", "replies", "texts"]

_words = st.text(st.characters(exclude_categories=()), max_size=40)
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _words, st.integers().map(str)
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=8,
)
_moments = st.one_of(
    st.integers(0, 4 * 10**12), st.integers(0, 4 * 10**12).map(str), _scalars
)  # fmt: skip


def _encoded(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda value: json.dumps(value).encode())


def _object(
    **fields: st.SearchStrategy[object],
) -> st.SearchStrategy[dict[str, object]]:
    """Any of the fields, each of its kind or of any other."""
    mixed = {name: st.one_of(kind, kind, _json) for name, kind in fields.items()}
    return st.fixed_dictionaries({}, optional=mixed)


_content = st.one_of(
    _object(
        text=_words,
        content=_words,
        recognition=_words,
        richText=st.lists(_object(text=_words, msgType=st.just("text"), content=_words)),
    ),
    _json.map(json.dumps),
)
_payload = _object(
    msgId=_words,
    msgtype=st.sampled_from(["text", "richText", "picture", "audio", "markdown", "file"]),
    text=_object(content=_words),
    content=_content,
    conversationId=_words,
    conversationType=st.sampled_from(["1", "2", 1, 2]),
    conversationTitle=_words,
    senderId=_words,
    senderStaffId=_words,
    senderNick=_words,
    robotCode=_words,
    sessionWebhook=st.just("https://oapi.dingtalk.com/robot/sendBySession?session=1"),
    sessionWebhookExpiredTime=_moments,
    createAt=_moments,
    errorCode=_scalars,
    errorMessage=_words,
)
payloads = _encoded(_payload)
frames = _encoded(
    _object(
        type=st.sampled_from(["SYSTEM", "CALLBACK", "EVENT"]),
        headers=_object(
            topic=st.sampled_from(["ping", "disconnect", "/v1.0/im/bot/messages/get", "*"]),
            messageId=_words,
            connectionId=_words,
            time=_moments,
        ),
        data=_payload.map(json.dumps),
    )
)
_dates = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
envelopes = _encoded(
    _object(
        version=st.integers(0, 3),
        bot=_words,
        message_id=_words,
        conversation_id=_words,
        conversation=st.sampled_from(["private", "group"]),
        earlier=st.lists(_object(message_id=_words, text=_words), max_size=3),
        previous_message_id=_words,
        text=_words,
        session_webhook=_words,
        created_at=_dates,
        received_at=_dates,
        deadline=_dates,
        clock_offset_s=st.floats(),
    )
)
replies = _encoded(
    st.one_of(
        _object(kind=st.just("text"), content=_words),
        _object(kind=st.just("markdown"), title=_words, text=_words),
    )
)
_lines = st.one_of(
    _words, st.sampled_from(["```", "```py", "~~~", "|a|b|", "|-|-|", "- item", "# head", "", " "])
)
texts = st.lists(_lines, max_size=200).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)
