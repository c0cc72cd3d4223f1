"""Agents that take ``BENCH_AGENT_S`` seconds, as those do that ask a language model."""

import asyncio
import os
import time

from worker.agents import Message

__all__ = ["awaiting", "blocking"]

TAKES_S = float(os.environ.get("BENCH_AGENT_S", "2"))


async def awaiting(message: Message) -> str:
    """Wait on the event loop that all of them share."""
    await asyncio.sleep(TAKES_S)
    return message.text


def blocking(message: Message) -> str:
    """Wait in a thread of its own."""
    time.sleep(TAKES_S)
    return message.text
