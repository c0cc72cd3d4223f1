"""Values as they come over the wire, where a number may be a string and anything may be null.

Used by the parsers beside it; nothing here raises.
"""

import json
import math
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "first_text",
    "json_array",
    "json_object",
    "moment",
    "plain",
    "text",
    "whole_number",
    "without_surrogates",
]

# Outside of these years an epoch is a mistake: seconds taken for milliseconds, or noise.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000

# Longer digit strings are noise, and Python refuses to convert the longest ones.
_DIGITS = 30

_DEPTH = 12  # nobody nests deeper; a recursion must end


def without_surrogates(value: str) -> str:
    """Replace lone surrogates: JSON can carry them, UTF-8 and our models cannot."""
    if value.isascii():
        return value
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


def first_text(fields: dict[str, Any], *names: str) -> str:
    """Return the first of these members that is a text with something in it, or a number."""
    for name in names:
        if name in fields and (words := text(fields[name])):
            return words
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
    value = _parsed(value)
    return value if isinstance(value, dict) else {}


def json_array(value: object) -> list[Any]:
    """Return an array, or the array a JSON string holds; empty when it is neither."""
    value = _parsed(value)
    return value if isinstance(value, list) else []


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def plain(value: object, depth: int = _DEPTH) -> Any:
    """Return a JSON value as every broker, store and model can carry it.

    Without lone surrogates, NaN, integers beyond 64 bits, and what is nested too deep.
    """
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {text(name): plain(inner, depth - 1) for name, inner in value.items()}
    if depth and isinstance(value, list):
        return [plain(inner, depth - 1) for inner in value]
    return None
