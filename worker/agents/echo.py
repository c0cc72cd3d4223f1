"""The agent that needs nothing: it says what it was told. For the first start, and for tests."""

from worker.agents.attachments import Attachment
from worker.agents.base import Message, Quoted

__all__ = ["agent"]


def agent(message: Message) -> str:
    """Answer with what came: the words, then the rest, what was quoted included."""
    shown = [message.text] if message.text else []
    shown += [_shown(each) for each in message.attachments]
    if message.quoted is not None:
        shown.append(f"(quoting: {_quoted(message.quoted)})")
    return "echo: " + (" ".join(shown) or f"[{message.kind}]")


def _shown(attachment: Attachment) -> str:
    facts = [attachment.kind, attachment.name]
    if attachment.duration_ms is not None:
        facts.append(f"{attachment.duration_ms / 1000:g} s")
    return f"[{' '.join(fact for fact in facts if fact)}]"


def _quoted(quoted: Quoted) -> str:
    parts = [quoted.text, *(_shown(each) for each in quoted.attachments)]
    return " ".join(part for part in parts if part) or f"[{quoted.kind}]"
