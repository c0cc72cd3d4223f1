"""The listener put together; run by ``__main__.py``, and by tests in their own event loop.

What there is once for each bot is in ``listener/line.py``.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from contract.broker_address import Broker
from listener.connection import Stream
from listener.daemon_thread import in_daemon_thread
from listener.enqueue import Enqueuer
from listener.gate import REFUSED_DELAY_S
from listener.intake import Intake
from listener.line import Line
from listener.settings import ListenerSettings
from listener.spool import Spool
from listener.status import Reporter
from listener.tally import Tally
from listener.vitals import Vitals, release
from listener.watchdog import Pulse

if TYPE_CHECKING:
    from listener.health_server import HealthServer

__all__ = ["serve"]

logger = logging.getLogger(__name__)

# Together less than 5 s, the time a platform may give before it kills.
ACK_LIMIT_S = 2.5
FLUSH_LIMIT_S = 1.0


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

    Raises:
        HealthPortError: ``HEALTH_PORT`` is taken; nothing was started.
    """
    spool = Spool(settings.data_dir / "spool", max_bytes=settings.spool_max_mb * 2**20)
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    enqueuer = Enqueuer(broker, spool, clock=clock, delays=delays)
    lines = _lines(settings, enqueuer, clock, delays, refused_delay_s)
    streams = [stream for line in lines for stream in line.streams]
    pulse = Pulse(partial(_renew, streams), clock=clock, monotonic=time.monotonic)
    vitals = [
        Vitals(
            line.settings,
            tally=line.tally,
            streams=line.streams,
            enqueuer=enqueuer,
            spool=spool,
            pulse=pulse,
            clock=clock,
        )
        for line in lines
    ]
    health = _health_server(settings.health_port, vitals)
    enqueuer.start()
    reporters = [Reporter(each, partial(enqueuer.tell, about=each.bot)) for each in vitals]
    reporting = (reporter.run() for reporter in reporters)
    await _until(stop, pulse.run(), *reporting, *(stream.run() for stream in streams))
    await asyncio.gather(*(stream.close(ACK_LIMIT_S) for stream in streams))
    for line, reporter in zip(lines, reporters, strict=True):
        line.close()
        reporter.last()
    unconfirmed, _ = await asyncio.gather(enqueuer.stop(FLUSH_LIMIT_S), _close(health))
    _say_stopped(unconfirmed, enqueuer.left_behind, [line.tally for line in lines])


def _lines(
    settings: ListenerSettings,
    enqueuer: Enqueuer,
    clock: Callable[[], datetime],
    delays: Sequence[float] | None,
    refused_delay_s: float,
) -> list[Line]:
    lines, are_several = [], len(settings.of_bots) > 1
    for bot in settings.of_bots:
        tally = Tally()
        lines.append(
            Line(
                bot,
                Intake(bot, enqueuer, clock=clock, monotonic=time.monotonic, tally=tally),
                tally,
                user_agent=f"celery-dingtalk/{release()}",
                clock=clock,
                name=bot.label if are_several else "",
                delays=delays,
                refused_delay_s=refused_delay_s,
            )
        )
    return lines


def _health_server(port: int | None, vitals: Sequence[Vitals]) -> "HealthServer | None":
    if port is None:
        return None
    # Here, because without the port nobody should pay for Prometheus' library.
    from listener.health_server import HealthServer

    return HealthServer(port, vitals)


async def _close(health: "HealthServer | None") -> None:
    if health is not None:
        await in_daemon_thread(health.close)


def _say_stopped(unconfirmed: int, left_behind: int, tallies: Sequence[Tally]) -> None:
    if unconfirmed:
        logger.error(
            "stopped with messages that neither broker nor disk has; they were not acknowledged",
            extra={"action": "messages_unconfirmed", "unconfirmed": unconfirmed},
        )
    if left_behind:
        logger.warning(
            "stopped with messages on the disk; the next listener with this DATA_DIR sends them",
            extra={"action": "spool_left", "messages": left_behind},
        )
    happened: Counter[str] = sum((+tally.messages for tally in tallies), Counter())
    logger.info("listener stopped", extra={"action": "stopped", **happened})


def _renew(streams: Sequence[Stream], reason: str) -> None:
    for stream in streams:
        stream.renew(reason)


async def _until(stop: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, none of which ends by itself, until ``stop`` is set."""
    running: asyncio.Future[Any] = asyncio.gather(*work)
    stopping: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
