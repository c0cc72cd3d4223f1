"""Words, plain or formatted: the two kinds that may be of any length, and may mention people."""

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dingwire.replies.fields import MAX_MENTIONS, NO_TITLE, TITLE_CHARS, Model, StaffId, Words

__all__ = ["Markdown", "Mentioning", "Text", "linked", "title_of", "under"]

_NAME_CHARS = 60

_LINE_START = re.compile(r"^\s*(?:[#>]+|[-*+]\s|\d{1,3}\.\s|\|)\s*")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^)\[]*\)")
_MARKS = re.compile(r"\*\*|__|[*`|]")


class Mentioning(Model):
    """A kind that may mention people of its group.

    ``at_user_ids`` are staff ids; DingTalk tells these people, and shows their names where the
    words have ``@id``, which is put before them when it is missing. ``addressee`` is the name that
    stands there instead where nobody can be mentioned: for somebody without a staff id, and in
    proactive messages.
    """

    at_user_ids: tuple[StaffId, ...] = Field(default=(), max_length=MAX_MENTIONS)
    at_all: bool = False
    addressee: str = Field(default="", max_length=_NAME_CHARS, repr=False)

    def missing_mentions(self, words: str) -> str:
        """Return the mentions that ``words`` lack, for a webhook."""
        wanted = (f"@{user}" for user in self.at_user_ids)
        missing = [each for each in wanted if not re.search(rf"{re.escape(each)}(?!\w)", words)]
        return " ".join(missing) if self.at_user_ids else self.shown_addressee()

    def shown_addressee(self) -> str:
        """Return the name as it stands before the words, for a proactive message."""
        return f"@{self.addressee}" if self.addressee else ""

    def at(self) -> dict[str, Any]:
        """Return the member ``at`` of a post, when there is anybody to mention."""
        if not self.at_user_ids and not self.at_all:
            return {}
        return {"at": {"atUserIds": list(self.at_user_ids), "isAtAll": self.at_all}}

    def without_mentions(self) -> Self:
        """Return it without them, as the parts after the first are sent."""
        nobody = {"at_user_ids": (), "at_all": False, "addressee": ""}
        return self.model_copy(update=nobody)


class Text(Mentioning):
    """Shown as it is. A long one is sent in several parts."""

    kind: Literal["text"] = "text"
    content: Words = Field(repr=False)

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post."""
        names = self.missing_mentions(self.content)
        words = f"{names} {self.content}" if names else self.content
        return {"msgtype": "text", "text": {"content": words}, **self.at()}

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        name = self.shown_addressee()
        return "sampleText", {"content": f"{name} {self.content}" if name else self.content}

    def closest(self) -> "Text":
        """Return what every way carries: itself."""
        return self


class Markdown(Mentioning):
    """Shown formatted. A long one is sent in several parts.

    ``title`` is only seen in the chat list and in notifications; without one it is the first line
    of the text.
    """

    kind: Literal["markdown"] = "markdown"
    title: Words = Field(default=NO_TITLE, repr=False)
    text: Words = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, data: Any) -> Any:
        if isinstance(data, dict) and "title" not in data and isinstance(data.get("text"), str):
            return {**data, "title": title_of(data["text"])}
        return data

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post."""
        words = under(self.missing_mentions(self.text), self.text)
        shown = {"title": self.title, "text": words}
        return {"msgtype": "markdown", "markdown": shown, **self.at()}

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        words = under(self.shown_addressee(), self.text)
        return "sampleMarkdown", {"title": self.title, "text": words}

    def closest(self) -> "Markdown":
        """Return what every way carries: itself."""
        return self


def under(names: str, words: str) -> str:
    """Return Markdown ``words`` with ``names`` above them, if there are any."""
    # A blank line, or a heading, list or table below would not be one.
    return f"{names}\n\n{words}" if names else words


def linked(title: str, address: str) -> str:
    """Return a link in Markdown; behind a ``!`` it is a picture."""
    shown = title.replace("[", "\\[").replace("]", "\\]")
    return f"[{shown}]({address.replace('(', '%28').replace(')', '%29')})"


def title_of(words: str) -> str:
    """Return the first line that says something, without its markup."""
    plain = (_without_markup(line) for line in words.splitlines() if not _is_fence(line))
    return next((line[:TITLE_CHARS] for line in plain if line), NO_TITLE)


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```")


def _without_markup(line: str) -> str:
    line = _LINE_START.sub("", line)
    line = _MARKS.sub("", _LINK.sub(r"\1", line)).strip()
    return line if any(char.isalnum() for char in line) else ""
