"""How the listener does for one bot, in one place; read from any thread and never waited for.

``listener/service.py`` makes one for each bot; they share broker, disk and event loop. The health
check, the metrics and the status report are three ways to tell what is here.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from contract.report import ListenerStatus
from listener.admission import EVERYBODY
from listener.connection import Stream
from listener.enqueue import Enqueuer
from listener.settings import ListenerSettings
from listener.spool import Spool
from listener.tally import Tally
from listener.watchdog import BEAT_S, Pulse

__all__ = ["Vitals", "release"]


def release() -> str:
    """Return our version."""
    try:
        return version("celery-dingtalk")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


class Vitals:
    """The facts, as they are at the moment they are asked for."""

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        tally: Tally,
        streams: Sequence[Stream],
        enqueuer: Enqueuer,
        spool: Spool,
        pulse: Pulse,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            settings: The bot's, for what is said of them: nothing secret.
            tally: What was counted of it.
            streams: Its connections to DingTalk.
            enqueuer: The way to the broker.
            spool: What is on the disk.
            pulse: Of the event loop.
            clock: Aware UTC.
            monotonic: The event loop's clock.
        """
        self._settings, self._streams, self._pulse = settings, streams, pulse
        self._fingerprint = settings.sealer.fingerprint
        self.tally, self.enqueuer, self.spool = tally, enqueuer, spool
        self._clock, self._monotonic = clock, monotonic
        self._started_at, self._began = clock(), monotonic()
        self.bot = settings.label
        self.listener = f"{socket.gethostname()}:{os.getpid()}"
        self.release = release()

    @property
    def connections_wanted(self) -> int:
        """How many connections there should be."""
        return len(self._streams)

    @property
    def connections_up(self) -> int:
        """On how many of them DingTalk is heard."""
        return sum(stream.is_up for stream in self._streams)

    @property
    def is_silent(self) -> bool:
        """Whether a connection is there on which nothing came for ``SILENCE_LIMIT_S``."""
        return any(stream.is_silent for stream in self._streams)

    @property
    def loop_lag_s(self) -> float:
        """How long the event loop was late within the last minute, or is."""
        return max(self._pulse.longest_lag_s, self.loop_standstill_s)

    @property
    def loop_standstill_s(self) -> float:
        """How long the event loop has been late by now; 0 while it runs."""
        return max(0.0, self._monotonic() - self._pulse.beat_at - BEAT_S)

    @property
    def last_frame_age_s(self) -> float | None:
        """How long ago the last frame came; None when none has come."""
        return self._age_s(self.tally.last_frame_at)

    @property
    def quiet_s(self) -> float:
        """How long no frame has come, the time before the first one included."""
        age_s = self.last_frame_age_s
        return self._monotonic() - self._began if age_s is None else age_s

    def _age_s(self, at: float | None) -> float | None:
        return None if at is None else round(self._monotonic() - at, 3)

    def status(self, *, stopped: bool = False) -> ListenerStatus:
        """Say it in the words of the report to the workers."""
        tally, allowed, up = self.tally, self._settings.let_in, self.connections_up
        messages = tally.messages
        return ListenerStatus(
            listener=self.listener,
            release=self.release,
            bot=self._settings.client_id,
            started_at=self._started_at,
            sent_at=self._clock(),
            stopped=stopped,
            connections_wanted=self.connections_wanted,
            connections_up=0 if stopped else up,
            trouble=tally.trouble if up < self.connections_wanted else None,
            reconnects=sum(tally.reconnects.values()),
            last_frame_age_s=self.last_frame_age_s,
            clock_offset_s=tally.clock_offset_s,
            frames=sum(tally.frames.values()),
            messages=messages["message_enqueued"] + messages["message_spooled"],
            group_messages=tally.group_messages,
            last_message_age_s=self._age_s(tally.last_message_at),
            denied=messages["message_denied"],
            denied_in_groups=tally.denied_in_groups,
            denied_senders=tally.denied_senders,
            last_denied_age_s=self._age_s(tally.last_denied_at),
            allowed_users=len(allowed - {EVERYBODY}),
            allows_everybody=EVERYBODY in allowed,
            sealed=self._settings.envelope_key is not None,
            key=self._fingerprint,
            spooled_messages=self.spool.backlog,
            spooled_bytes=self.spool.size,
        )
