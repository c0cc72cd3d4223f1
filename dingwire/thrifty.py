"""Connections that are opened only when waiting a moment for one does not help.

Mixed into the pools of ``dingwire/guarded.py``. A burst of posts would open one for each thread at
once, each with its handshake, where those a few posts ahead come free while a handshake lasts.
"""

import threading
import time
from typing import Any

from urllib3 import HTTPConnectionPool

__all__ = ["ThriftyPool"]

# Who finds none free waits so long before there is one more. Of those that have waited for it
# together, each gets one so much after the other: behind a server that does not answer, the last of
# 64 threads after 1.4 s.
WAIT_S, APART_S = 0.1, 0.02


class ThriftyPool(HTTPConnectionPool):
    """A pool whose connections are handed on rather than made."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._busy = 0
        self._freed, self._turn = threading.Condition(), threading.Lock()

    def _get_conn(self, timeout: float | None = None) -> Any:
        until = time.monotonic() + WAIT_S
        with self._turn, self._freed:
            left_s = max(APART_S, until - time.monotonic())
            self._freed.wait_for(self._is_any_free, left_s)
            connection = super()._get_conn(timeout)
            self._busy += 1
            return connection

    def _is_any_free(self) -> bool:
        waiting = self.pool.queue if self.pool is not None else ()
        return self._busy <= 0 or any(connection is not None for connection in waiting)

    def _put_conn(self, conn: Any) -> None:
        try:
            super()._put_conn(conn)
        finally:
            with self._freed:
                self._busy -= 1
                self._freed.notify()
