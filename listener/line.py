"""One bot's way in: its connections, who may write to it, and what is counted of it.

``listener/service.py`` makes one for each bot. They share the way to the broker and the disk, and
nothing else: what DingTalk refuses one bot disturbs no other.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from dingwire.gateway import register
from dingwire.http import new_session
from listener.connection import Stream
from listener.gate import Gate
from listener.intake import Intake
from listener.settings import ListenerSettings
from listener.tally import Tally

__all__ = ["Line"]

REGISTER_LIMIT_S = 10.0


class Line:
    """Holds a bot's connections; its ``streams`` are run and closed by who made it."""

    def __init__(
        self,
        settings: ListenerSettings,
        intake: Intake,
        tally: Tally,
        *,
        user_agent: str,
        clock: Callable[[], datetime],
        name: str = "",
        delays: Sequence[float] | None = None,
        refused_delay_s: float,
    ) -> None:
        """Prepare.

        Args:
            settings: The bot's.
            intake: Takes its messages.
            tally: Where they are counted.
            user_agent: Names us to DingTalk.
            clock: Aware UTC.
            name: What the bot is called in log lines, where there are several.
            delays: Between attempts to connect; for tests.
            refused_delay_s: After DingTalk refused the credentials.
        """
        self.settings, self.tally = settings, tally
        self._session = new_session(user_agent)
        ask = partial(
            register,
            self._session,
            endpoint=settings.openapi_endpoint,
            client_id=settings.client_id,
            client_secret=settings.client_secret.get_secret_value(),
            user_agent=user_agent,
            timeout_s=REGISTER_LIMIT_S,
            clock=clock,
        )
        gate = Gate(ask, refused_delay_s=refused_delay_s)
        self.streams = [
            Stream(
                gate,
                intake.take,
                bot=name,
                tally=tally,
                silence_limit_s=settings.silence_limit_s,
                ttl_s=settings.connection_ttl_s,
                delays=delays,
            )
            for _ in range(settings.connections)
        ]

    def close(self) -> None:
        """Close what registrations were asked by."""
        self._session.close()
