"""Values as they come over the wire, where a number may be a string and anything may be null.

Used by the parsers beside it; nothing here raises.
"""

import json
from datetime import UTC, datetime
from typing import Any

__all__ = ["json_object", "moment", "text", "whole_number", "without_surrogates"]

# Outside of these years an epoch is a mistake: seconds taken for milliseconds, or noise.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000

# Longer digit strings are noise, and Python refuses to convert the longest ones.
_DIGITS = 30


def without_surrogates(value: str) -> str:
    """Replace lone surrogates: JSON can carry them, UTF-8 and our models cannot."""
    return value.encode("utf-8", "replace").decode()


def text(value: object) -> str:
    """Return a string or a number as text, anything else as an empty string."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return ""


def whole_number(value: object) -> int | None:
    """Return an integer, also from a string of digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) <= _DIGITS:
        try:
            return int(value)
        except ValueError:
            return None
    return None


def moment(value: object) -> datetime | None:
    """Return epoch milliseconds (number or digits) as aware UTC; None when absent or absurd."""
    ms = whole_number(value)
    if ms is None or not _EARLIEST <= ms < _LATEST:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC)


def json_object(value: object) -> dict[str, Any]:
    """Return an object, or the object a JSON string holds; empty when it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
