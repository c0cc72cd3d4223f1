"""A reply as DingTalk shows it, and its two forms on the wire.

The worker turns an agent's words into one, the store keeps it as JSON, ``webhook.py`` and
``openapi.py`` send it. Limits and markup: docs/protocol.md, "Replies".
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from dingwire.values import text, without_surrogates

__all__ = [
    "MAX_BODY_BYTES",
    "Markdown",
    "Reply",
    "Text",
    "from_agent_text",
    "prefixed",
    "proactive_message",
    "reply_from_json",
    "reply_to_json",
    "webhook_body",
]

MAX_BODY_BYTES = 20_000  # of one webhook post, JSON included
MAX_MENTIONS = 50
TITLE_CHARS = 60
NO_TITLE = "Reply"  # a title is required, and some texts are nothing but markup

_Words = Annotated[
    str, BeforeValidator(lambda v: without_surrogates(v) if isinstance(v, str) else v)
]


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Text(_Reply):
    """Shown as it is."""

    kind: Literal["text"] = "text"
    content: _Words = Field(repr=False)


class Markdown(_Reply):
    """Shown formatted; ``title`` is only seen in the chat list and in notifications."""

    kind: Literal["markdown"] = "markdown"
    title: _Words = Field(repr=False)
    text: _Words = Field(repr=False)


Reply = Text | Markdown
_STORED: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])

# No alternative looks past the end of its line, or past where the next match may begin: one that
# does takes minutes on megabytes of blank lines or brackets, and stops every thread meanwhile.
_MARKUP = re.compile(
    r"""
    ^[ \t]{0,3}\#{1,6}[ \t]+\S      # heading
    | ^[ \t]*[-*+][ \t]+\S          # list
    | ^[ \t]*\d{1,3}\.[ \t]+\S      # numbered list
    | ^[ \t]{0,3}>[ \t]*\S          # quote
    | ^[ \t]*```                    # code block
    | ^[ \t]*\|.+\|[ \t\r]*$        # table
    | \*\*\S(?:[^*\n]*\S)?\*\*      # bold
    | `[^`\n]+`                     # code
    | \[[^\[\]\n]*\]\([^)\[\s]+\)   # link, picture
    """,
    re.MULTILINE | re.VERBOSE,
)
_LINE_START = re.compile(r"^\s*(?:[#>]+|[-*+]\s|\d{1,3}\.\s|\|)\s*")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^)\[]*\)")
_MARKS = re.compile(r"\*\*|__|[*`|]")


def from_agent_text(words: str) -> Reply:
    """Return what an agent wrote as Markdown when it holds markup, else as plain text.

    The text stays as it is, single line breaks included, although DingTalk tends to fold those in
    Markdown: inside a code block they must not be touched.
    """
    if _MARKUP.search(words):
        return Markdown(title=_title(words), text=words)
    return Text(content=words)


def _title(words: str) -> str:
    plain = (_without_markup(line) for line in words.splitlines() if not _is_fence(line))
    return next((line[:TITLE_CHARS] for line in plain if line), NO_TITLE)


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```")


def _without_markup(line: str) -> str:
    line = _LINE_START.sub("", line)
    line = _MARKS.sub("", _LINK.sub(r"\1", line)).strip()
    return line if any(char.isalnum() for char in line) else ""


def prefixed(reply: Reply, note: str) -> Reply:
    """Return ``reply`` with a line before it, such as an excuse for being late."""
    if isinstance(reply, Text):
        return Text(content=f"{note}\n{reply.content}")
    return Markdown(title=reply.title, text=f"{note}\n\n{reply.text}")


def reply_to_json(reply: Reply) -> str:
    """Return the JSON text that :func:`reply_from_json` reads."""
    return reply.model_dump_json()


def reply_from_json(raw: str | bytes) -> Reply:
    """Read a kept reply.

    Raises:
        ValueError: It is none; the text does not show it.
    """
    try:
        return _STORED.validate_json(raw)
    except ValidationError:
        problem = "not a kept reply: expected JSON of a text or markdown reply"
    raise ValueError(problem)


def webhook_body(
    reply: Reply, *, at_user_ids: Sequence[str] = (), msg_uuid: str | None = None
) -> dict[str, Any]:
    """Return what is posted to a session webhook.

    Args:
        reply: What to say.
        at_user_ids: Staff ids to mention, 50 at most; empty ones are left out. A Markdown reply
            gets the mentions written below it, or nobody would see them.
        msg_uuid: The same value on every attempt lets DingTalk drop the second copy.
    """
    mentions = [user for user in at_user_ids if user][:MAX_MENTIONS]
    body: dict[str, Any] = {"msgtype": reply.kind}
    if isinstance(reply, Text):
        body["text"] = {"content": reply.content}
    else:
        missing = [f"@{user}" for user in mentions if f"@{user}" not in reply.text]
        parts = [reply.text, " ".join(missing)] if missing else [reply.text]
        body["markdown"] = {"title": reply.title or NO_TITLE, "text": "\n\n".join(parts)}
    if mentions:
        body["at"] = {"atUserIds": [text(user) for user in mentions], "isAtAll": False}
    if msg_uuid:
        body["msgUuid"] = msg_uuid
    return body


def proactive_message(reply: Reply) -> tuple[str, str]:
    """Return ``msgKey`` and ``msgParam`` (JSON text) of a message sent without being asked."""
    if isinstance(reply, Text):
        return "sampleText", json.dumps({"content": reply.content}, ensure_ascii=False)
    title = reply.title or NO_TITLE
    param = json.dumps({"title": title, "text": reply.text}, ensure_ascii=False)
    return "sampleMarkdown", param
