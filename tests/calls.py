"""What this thread calls, in its order."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["calls_of", "socket_calls"]

_NAMES = frozenset({"connect", "recv", "recv_into", "send", "sendall", "settimeout"})


@contextmanager
def socket_calls() -> Iterator[list[str]]:
    """Yield the list to which each call of a socket is added inside the ``with`` block."""
    calls: list[str] = []

    def note(_: FrameType, kind: str, called: Any) -> None:
        if kind == "c_call" and called.__name__ in _NAMES:
            calls.append(called.__name__)

    with _noting(note):
        yield calls


@contextmanager
def calls_of(function: Callable[..., Any]) -> Iterator[list[str]]:
    """Yield the list to which each call of a Python function is added in the ``with`` block."""
    calls: list[str] = []

    def note(frame: FrameType, kind: str, _: Any) -> None:
        if kind == "call" and frame.f_code is function.__code__:
            calls.append(function.__name__)

    with _noting(note):
        yield calls


@contextmanager
def _noting(note: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
