"""A process whose clock is wrong: put this folder on PYTHONPATH and name the error.

Python imports ``sitecustomize`` before anything else. What Python code reads as the time of day is
``CHAOS_CLOCK_AHEAD_S`` ahead: ``time.time``, ``time.time_ns``, ``datetime.now`` and its kin. The
monotonic clock is right, as it is on a machine whose time of day is wrong.
"""

import datetime
import os
import time
from typing import Any

AHEAD_S = float(os.environ["CHAOS_CLOCK_AHEAD_S"])
_AHEAD = datetime.timedelta(seconds=AHEAD_S)
_time, _time_ns = time.time, time.time_ns
_real: Any = datetime.datetime


class _SameAsReal(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real)


class _Datetime(_real, metaclass=_SameAsReal):  # type: ignore[misc]
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real.now(tz) + _AHEAD

    @classmethod
    def utcnow(cls) -> Any:
        return _real.now(datetime.UTC).replace(tzinfo=None) + _AHEAD

    @classmethod
    def today(cls) -> Any:
        return cls.now()


_Datetime.__name__ = _Datetime.__qualname__ = "datetime"
_Datetime.__module__ = "datetime"
time.time = lambda: _time() + AHEAD_S
time.time_ns = lambda: _time_ns() + round(AHEAD_S * 1_000_000_000)
datetime.datetime = _Datetime  # type: ignore[misc]
