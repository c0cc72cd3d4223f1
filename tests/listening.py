"""A listener in the test's own event loop, and what it left on the broker."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import MESSAGES
from dingwire.simulator import Simulator
from listener.service import serve
from listener.settings import ListenerSettings
from tests.servers import wait_for

__all__ = ["empty", "envelopes_on", "listener_settings", "running_listener", "until_away"]


def listener_settings(simulator: Simulator, data_dir: Path, **values: Any) -> ListenerSettings:
    """Settings that let everybody in; ``values`` by field name."""
    defaults: dict[str, Any] = {
        "client_id": "ding1",
        "client_secret": "s3cret",
        "openapi_endpoint": simulator.endpoint,
        "allowed_users": ("*",),
        "broker_url": "embedded://",
        "data_dir": data_dir,
    }
    return ListenerSettings.load(**defaults | values)


@asynccontextmanager
async def running_listener(
    simulator: Simulator,
    data_dir: Path,
    *,
    delays: Sequence[float] = (0.02,),
    refused_delay_s: float = 0.02,
    connected: bool = True,
    **values: Any,
) -> AsyncIterator[None]:
    """Run a listener, connected unless told not to wait for that."""
    stop = asyncio.Event()
    settings = listener_settings(simulator, data_dir, **values)
    running = asyncio.create_task(
        serve(
            settings,
            stop,
            clock=lambda: datetime.now(UTC),
            delays=delays,
            refused_delay_s=refused_delay_s,
        )
    )
    try:
        if connected:
            await simulator.until_connected()
        yield
    finally:
        stop.set()
        await running


async def until_away(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until the listener knows that its broker is away."""
    await asyncio.to_thread(
        wait_for,
        lambda: len([r for r in list(caplog.records) if _is_reconnecting_to_broker(r)]) >= 2,
        what="the listener to know that its broker is away",
    )


def _is_reconnecting_to_broker(record: logging.LogRecord) -> bool:
    fields = vars(record)
    return fields.get("action") == "reconnecting" and fields.get("peer") == "broker"


def empty(broker: Broker) -> Broker:
    """Declare the queues and leave nothing in them."""
    with broker.connection() as connection:
        for queue in broker.queues():
            bound = queue(connection.default_channel)
            bound.declare()
            bound.purge()
    return broker


def envelopes_on(broker: Broker) -> list[Envelope]:
    """Take every message off the broker, oldest first."""
    found = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == MESSAGES)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append(Envelope.from_wire(message.payload[1]["envelope"]))
    return found
