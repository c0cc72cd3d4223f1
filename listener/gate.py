"""The way to a ticket, shared by all connections of a process; used by ``listener/connection.py``.

However many connections want one, DingTalk sees one registration at a time, some time apart, and
none before it wants to hear from us again.
"""

import asyncio
from collections.abc import Callable

from dingwire.errors import CredentialsRefusedError, GatewayRefusedError, GatewayUnavailableError
from dingwire.gateway import Registration
from listener.daemon_thread import in_daemon_thread

__all__ = ["REFUSED_DELAY_S", "Gate"]

SPACING_S = 0.3
REFUSED_DELAY_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0


class Gate:
    """Lets connections register, one after the other."""

    def __init__(
        self, register: Callable[[], Registration], *, refused_delay_s: float = REFUSED_DELAY_S
    ) -> None:
        """Prepare.

        Args:
            register: Asks for a ticket; blocks, so it is called in a thread.
            refused_delay_s: How long nobody asks after DingTalk refused the credentials.
        """
        self._register, self._refused_delay_s = register, refused_delay_s
        self._turn = asyncio.Lock()
        self._opens_at = float("-inf")

    async def register(self) -> Registration:
        """Ask for a ticket when it is our turn.

        Raises:
            GatewayError: There is none; nobody may ask again before ``delay_after`` it.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(0, self._opens_at - loop.time()))
            delay_s = SPACING_S
            try:
                return await in_daemon_thread(self._register)
            except Exception as error:
                delay_s = max(delay_s, self.delay_after(error))
                raise
            finally:
                self._opens_at = loop.time() + delay_s

    def delay_after(self, error: Exception) -> float:
        """Return how many seconds DingTalk wants to be left alone; 0 when it did not say."""
        if isinstance(error, CredentialsRefusedError | GatewayRefusedError):
            return self._refused_delay_s
        if isinstance(error, GatewayUnavailableError) and error.retry_after_s is not None:
            return min(error.retry_after_s, LONGEST_RETRY_AFTER_S)
        return 0
