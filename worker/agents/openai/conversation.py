"""What a model is told of a conversation: the memory, the present message, and what tools said.

Pure; ``answering.py`` has it and ``reading.py`` gives it what stands in attachments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dingwire.values import without_surrogates
from worker.agents.base import Message, Quoted
from worker.agents.context import Said

__all__ = ["Conversation", "Shown", "named", "question"]

ChatMessage = dict[str, Any]

IN_A_GROUP = (
    "This is a group chat. Each message begins with the name of the person who wrote it; "
    "do not begin your own messages with a name."
)
_NAME_CHARS = 40
# Of so few utterances a half is hardly worth another try.
_SHORT = 4


@dataclass(frozen=True)
class Shown:
    """An attachment as a model is shown it: in words, or as a picture, a data URL."""

    words: str = field(default="", repr=False)
    picture: str = field(default="", repr=False)


@dataclass
class Conversation:
    """All that is sent with one call; it grows with each step, and forgets when it is too long."""

    prompt: str
    history: Sequence[Said]
    present: ChatMessage
    is_group: bool = False
    steps: list[ChatMessage] = field(default_factory=list)

    @property
    def messages(self) -> list[ChatMessage]:
        """What is sent: the prompt, then people and assistant in turn, whoever wrote last."""
        prompt = "\n\n".join(filter(None, [self.prompt, IN_A_GROUP if self.is_group else ""]))
        first = [{"role": "system", "content": prompt}] if prompt else []
        said = [*first, *_in_turn([*self._remembered(), self.present]), *self.steps]
        return [_sendable(message) for message in said]

    def forget(self) -> bool:
        """Drop the older half of the memory, all of what is short; False when there is none."""
        if not self.history:
            return False
        kept = len(self.history) // 2 if len(self.history) > _SHORT else 0
        self.history = self.history[len(self.history) - kept :]
        return True

    def _remembered(self) -> list[ChatMessage]:
        said = [each for each in self.history if each.text.strip()]
        while said and said[0].role != "user":  # some endpoints take no other first one
            said = said[1:]
        return [
            {"role": each.role, "content": self._spoken(each) if each.role == "user" else each.text}
            for each in said
        ]

    def _spoken(self, said: Said) -> str:
        return named(said.text, said.sender_nick if self.is_group else "")


def question(
    message: Message, attachments: Sequence[Shown], quoted: Sequence[Shown]
) -> ChatMessage:
    """Return the present message.

    Args:
        message: As it came.
        attachments: Its own, as far as there is something to show.
        quoted: Those of the message that it quotes.
    """
    words = [_quote(message.quoted, quoted)] if message.quoted is not None else []
    words += [message.text, *(each.words for each in attachments)]
    text = "\n\n".join(filter(None, words)) or f"[{message.kind} without words]"
    text = named(text, message.sender_nick if message.is_group else "")
    pictures = [each.picture for each in (*quoted, *attachments) if each.picture]
    if not pictures:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": picture}} for picture in pictures
    ]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def named(text: str, nick: str) -> str:
    """Put a name before what somebody said; one line, so that nobody speaks for another."""
    name = " ".join(nick.split())[:_NAME_CHARS]
    return f"{name}: {text}" if name else text


def _quote(quoted: Quoted, attachments: Sequence[Shown]) -> str:
    whose = "a message"
    if quoted.is_from_bot:
        whose = "your own message"
    elif quoted.sender_nick.strip():
        whose = named("", quoted.sender_nick).removesuffix(": ")
    words = "\n".join(filter(None, [quoted.text, *(each.words for each in attachments)]))
    shown = words or f"[{quoted.kind} whose content is not known]"
    lines = "\n".join(f"> {line}" for line in shown.splitlines())
    return f"[in answer to {whose}:]\n{lines}"


def _in_turn(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Join what the same role said one after the other, which some endpoints refuse."""
    joined: list[ChatMessage] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**message, "content": _both(joined[-1]["content"], message["content"])}
        else:
            joined.append(message)
    return joined


def _sendable(value: Any) -> Any:
    """Return it without halves of emoji, which models and tools write and UTF-8 has not."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_sendable(each) for each in value]
    if isinstance(value, dict):
        return {name: _sendable(each) for name, each in value.items()}
    return value


def _both(first: str, second: Any) -> Any:
    """Join words with words, or with the parts of a message with pictures."""
    if isinstance(second, str):
        return f"{first}\n\n{second}"
    return [{"type": "text", "text": first}, *second]
