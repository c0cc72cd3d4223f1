"""An agent that does as its message says, on PYTHONPATH as a user's own agent would be.

``sleep:1.5`` takes that long; ``wait:name`` waits until the test opens that gate; ``silent`` says
nothing; ``brief`` keeps the reply short; ``raise`` fails. Every call is written down.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["OBEDIENT_AGENT_FOLDER"])


async def agent(message: Any) -> str:
    _write_down(message.message_id)
    for order in message.text.split():
        word, _, argument = order.partition(":")
        if word == "sleep":
            await asyncio.sleep(float(argument))
        elif word == "wait":
            while not (FOLDER / argument).exists():  # noqa: ASYNC110, another process opens it
                await asyncio.sleep(0.05)
        elif word == "brief":
            return "in short"
        elif word == "raise":
            raise ValueError(message.text)
    return f"you said {message.text}"


def _write_down(message_id: str) -> None:
    # One short write to a file opened for appending stays whole, whoever else writes.
    with (FOLDER / "calls").open("a") as calls:
        calls.write(f"{message_id} {os.getpid()}\n")
