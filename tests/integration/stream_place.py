"""One stream of the listener against a simulated DingTalk, without a broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from dingwire.frames import ack
from dingwire.gateway import register
from dingwire.http import new_session
from dingwire.simulator import Simulator
from listener.connection import Stream
from listener.gate import Gate
from listener.link import Push, Take

__all__ = ["ack_at_once", "running_stream"]


async def ack_at_once(push: Push, clock_offset: timedelta) -> str:
    """Take every message."""
    return ack(push.frame)


@asynccontextmanager
async def running_stream(
    simulator: Simulator, take: Take = ack_at_once, **options: Any
) -> AsyncIterator[Stream]:
    """Run a stream, connected; ``options`` are those of ``Stream``."""
    session = new_session("test/1")
    ask = partial(
        register,
        session,
        endpoint=simulator.endpoint,
        client_id="ding1",
        client_secret="s3cret",
        user_agent="test/1",
        clock=lambda: datetime.now(UTC),
    )
    stream = Stream(Gate(ask), take, **{"delays": (0.02,), **options})
    connected = len(simulator.live_connections)
    running = asyncio.create_task(stream.run())
    try:
        await simulator.until_connected(connected + 1)
        yield stream
    finally:
        running.cancel()
        await stream.close(1)
        session.close()
