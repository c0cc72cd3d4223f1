"""What this thread asks of its sockets, in its order."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["socket_calls"]

_NAMES = frozenset({"connect", "recv", "recv_into", "send", "sendall", "settimeout"})


@contextmanager
def socket_calls() -> Iterator[list[str]]:
    """Yield the list to which the name of each call is added inside the ``with`` block."""
    calls: list[str] = []

    def note(_: FrameType, kind: str, called: Any) -> None:
        if kind == "c_call" and called.__name__ in _NAMES:
            calls.append(called.__name__)

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)
