"""The agent that needs nothing: it says what it was told. For the first start, and for tests."""

from worker.agents.base import Message

__all__ = ["agent"]


def agent(message: Message) -> str:
    """Answer with the message's own text."""
    return f"echo: {message.text}" if message.text else f"echo: [{message.kind}]"
