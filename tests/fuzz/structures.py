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


_codes = {"downloadCode": _words, "duration": _scalars, "fileName": _words, "videoType": _words}
_item = _object(
    type=st.sampled_from(["picture", "at", "emoji", "text", "file"]),
    text=_words,
    msgType=st.just("text"),
    content=_words,
    atName=_words,
    atUserId=_words,
    downloadCode=_words,
)
_fields = _object(
    text=_words,
    content=_words,
    recognition=_words,
    title=_words,
    summary=_words,
    richText=st.lists(_item, max_size=4),
    chatRecord=st.one_of(
        st.lists(_object(senderName=_words, msgType=_words, content=_words), max_size=3),
        st.lists(_json, max_size=3).map(json.dumps),
    ),
    **_codes,
)
_replied = _object(
    msgType=st.sampled_from(["text", "richText", "picture", "file", "interactiveCard", "audio"]),
    msgId=_words,
    senderId=st.sampled_from(["$:bot", "$:other"]),
    senderNick=_words,
    createdAt=_moments,
    content=_fields,
)
_quoting = {
    "isReplyMsg": st.sampled_from([True, "true", False]),
    "repliedMsg": st.one_of(_replied, _replied.map(json.dumps)),
}
_content = st.one_of(
    _fields,
    st.builds(lambda one, other: one | other, _fields, _object(**_quoting)),
    _fields.map(json.dumps),
    _json.map(json.dumps),
)
_payload = _object(
    msgId=_words,
    msgtype=st.sampled_from(
        [
            "text",
            "richText",
            "picture",
            "audio",
            "video",
            "markdown",
            "file",
            "chatRecord",
            "interactiveCard",
            "unknownMsgType",
        ]
    ),
    text=_object(content=_words, **_quoting),
    chatbotUserId=st.just("$:bot"),
    atUsers=st.lists(_object(dingtalkId=st.sampled_from(["$:bot", "$:a"]), staffId=_words)),
    isInAtList=st.booleans(),
    isAdmin=st.booleans(),
    quoteMessage=_replied,
    originalMsgId=_words,
    hostingContext=_json,
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
_attachment = _object(kind=_words, download_code=_words, size=st.integers(), duration_ms=_scalars)
_part = {
    "text": _words,
    "attachments": st.lists(_attachment, max_size=2),
    "quoted": _object(text=_words, attachments=st.lists(_attachment, max_size=2)),
    "mentions": st.lists(_object(staff_id=_words, is_bot=st.booleans()), max_size=2),
}
_dates = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
envelopes = _encoded(
    _object(
        version=st.integers(0, 3),
        bot=_words,
        message_id=_words,
        conversation_id=_words,
        conversation=st.sampled_from(["private", "group"]),
        earlier=st.lists(_object(message_id=_words, **_part), max_size=3),
        previous_message_id=_words,
        raw=_json,
        error_code=_scalars,
        **_part,
        session_webhook=_words,
        created_at=_dates,
        received_at=_dates,
        deadline=_dates,
        clock_offset_s=st.floats(),
    )
)
_buttons = st.lists(_object(title=_words, url=_words, picture=_words), max_size=3)
replies = _encoded(
    st.one_of(
        _object(kind=st.just("text"), content=_words),
        _object(kind=st.just("markdown"), title=_words, text=_words),
        _object(kind=st.just("link"), title=_words, text=_words, url=_words, picture=_words),
        _object(kind=st.just("action_card"), title=_words, text=_words, buttons=_buttons),
        _object(kind=st.just("feed_card"), links=_buttons),
        _object(kind=st.just("file"), media_id=_words, name=_words),
        _object(kind=st.just("card"), template_id=_words, text=_words, values=_json),
    )
)
_lines = st.one_of(
    _words, st.sampled_from(["```", "```py", "~~~", "|a|b|", "|-|-|", "- item", "# head", "", " "])
)
texts = st.lists(_lines, max_size=200).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)
