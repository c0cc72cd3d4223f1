"""The agents of ``make chaos``: 50 to 200 ms of work, then the message's token back.

On PYTHONPATH as a user's own would be. Start and end of every call are written down, so that the
harness knows who has what in hand.
"""

import asyncio
import os
import re
import time
import zlib
from pathlib import Path
from typing import Any

CALLS = Path(os.environ["CHAOS_CALLS"])
TOKEN = re.compile(r"\bm\d{4}\b")


async def agent(message: Any) -> str:
    """Answer; waiting, as for a model."""
    token = _began(message)
    await asyncio.sleep(_seconds(token))
    return _ended(token)


def blocking(message: Any) -> str:
    """Answer; holding its thread or process."""
    token = _began(message)
    time.sleep(_seconds(token))
    return _ended(token)


def _seconds(token: str) -> float:
    """Return another time for another message, the same in every run."""
    return 0.05 + zlib.crc32(token.encode()) % 151 / 1000


def _began(message: Any) -> str:
    token = TOKEN.findall(message.text)[0]
    _write_down("+", token)
    return str(token)


def _ended(token: str) -> str:
    _write_down("-", token)
    return f"{token} is answered"


def _write_down(mark: str, token: str) -> None:
    # One short write to a file opened for appending stays whole, whoever else writes.
    with CALLS.open("a") as calls:
        calls.write(f"{mark} {token} {os.getpid()}\n")
