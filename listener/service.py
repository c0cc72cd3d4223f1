"""The listener put together; run by ``__main__.py``, and by tests in their own event loop."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from contract.broker import Broker
from dingwire.gateway import register
from dingwire.http import new_session
from listener.connection import Stream
from listener.enqueue import Enqueuer
from listener.gate import REFUSED_DELAY_S, Gate
from listener.intake import Intake
from listener.settings import ListenerSettings
from listener.spool import Spool
from listener.watchdog import Pulse

__all__ = ["serve"]

logger = logging.getLogger(__name__)

REGISTER_LIMIT_S = 10.0
# Together less than 5 s, the time a platform may give before it kills.
ACK_LIMIT_S = 2.5
FLUSH_LIMIT_S = 1.0


def _user_agent() -> str:
    try:
        return f"celery-dingtalk/{version('celery-dingtalk')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "celery-dingtalk/0"


async def serve(
    settings: ListenerSettings,
    stop: asyncio.Event,
    *,
    clock: Callable[[], datetime],
    delays: Sequence[float] | None = None,
    refused_delay_s: float = REFUSED_DELAY_S,
) -> None:
    """Listen until ``stop`` is set, then flush and close.

    Args:
        settings: What ``ListenerSettings.load`` read.
        stop: Set it to end.
        clock: Aware UTC.
        delays: Between attempts to reach DingTalk or the broker; for tests.
        refused_delay_s: After DingTalk refused the credentials.
    """
    spool = Spool(settings.data_dir / "spool", max_bytes=settings.spool_max_mb * 2**20)
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    enqueuer = Enqueuer(broker, spool, delays=delays)
    enqueuer.start()
    intake = Intake(settings, enqueuer, clock=clock, monotonic=time.monotonic)
    user_agent = _user_agent()
    session = new_session(user_agent)
    ask = partial(
        register,
        session,
        endpoint=settings.openapi_endpoint,
        client_id=settings.client_id,
        client_secret=settings.client_secret.get_secret_value(),
        user_agent=user_agent,
        timeout_s=REGISTER_LIMIT_S,
        clock=clock,
    )
    gate = Gate(ask, refused_delay_s=refused_delay_s)
    streams = [
        Stream(
            gate,
            intake.take,
            are_events_deferred=lambda: intake.is_spooling,
            silence_limit_s=settings.silence_limit_s,
            ttl_s=settings.connection_ttl_s,
            delays=delays,
        )
        for _ in range(settings.connections)
    ]
    await _until(stop, _keep_connected(streams, clock))
    await asyncio.gather(*(stream.close(ACK_LIMIT_S) for stream in streams))
    session.close()
    unconfirmed = await enqueuer.stop(FLUSH_LIMIT_S)
    if unconfirmed:
        logger.error(
            "stopped with messages that neither broker nor disk has; they were not acknowledged",
            extra={"action": "messages_unconfirmed", "unconfirmed": unconfirmed},
        )
    if enqueuer.left_behind:
        logger.warning(
            "stopped with messages on the disk; the next listener with this DATA_DIR sends them",
            extra={"action": "spool_left", "messages": enqueuer.left_behind},
        )
    logger.info("listener stopped", extra={"action": "stopped", **intake.counts})


async def _keep_connected(streams: Sequence[Stream], clock: Callable[[], datetime]) -> None:
    def renew_all(reason: str) -> None:
        for stream in streams:
            stream.renew(reason)

    pulse = Pulse(renew_all, clock=clock, monotonic=time.monotonic)
    await asyncio.gather(pulse.run(), *(stream.run() for stream in streams))


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, which does not end by itself, until ``stop`` is set."""
    running, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
