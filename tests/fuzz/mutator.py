"""Turns inputs that are right into inputs that are not; used by ``tests/fuzz/fuzzer.py``.

Blind on purpose: no coverage is followed, which keeps it small and fast. Half of what it does is
to bytes, half to the values of the JSON they hold.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["Mutator"]

LONGEST = 8192

TOKENS = [
    b"null", b"true", b"0", b"-0", b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 400, b'""',
    b"{}", b"[]", b"[" * 2000, b'{"a":' * 1500, b"\\ud800", b'"\\udfff"', b"\\u0000", b"\x00",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\r\n", b"\n",
    "你好".encode(), "👩‍👧".encode(), "\u2028".encode(), b"```", b"~~~", b"\n\n", b"- ", b"| a |\n",
    b"|---|\n", b"# ", b"**", b"](", b"[", b"`", b" " * 200, b"\n" * 500, b"[" * 500, b"A" * 5000,
]  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"),
    "", " ", "0", "1", "2", "-1", "nan", "9" * 4400, "\ud800", "\x00", "a" * 5000, "\u0085",
    [], {}, [None], [[[[]]]], {"": ""}, {"text": None}, {"content": {"content": []}}, '{"a":1}',
    "[" * 3000, 1767225600000, "1767225600000", -62135596800000, 253402300800000, 0.1 + 1e15,
    "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
]  # fmt: skip


class Mutator:
    """Makes inputs out of others; the same seed makes the same ones."""

    def __init__(self, random: Random, corpus: Sequence[bytes]) -> None:
        self._random = random
        self._corpus = corpus
        self._on_bytes: list[Callable[[bytes], bytes]] = [
            self._flip, self._overwrite, self._insert, self._remove, self._repeat, self._splice,
        ]  # fmt: skip

    def next(self) -> bytes:
        """Return the next input."""
        raw = self._random.choice(self._corpus)
        if self._random.random() < 0.5:
            raw = self._on_json(raw)
        if self._random.random() < 0.6:
            for _ in range(self._random.choice((1, 1, 2, 4, 16))):
                raw = self._random.choice(self._on_bytes)(raw)
        return raw[:LONGEST]

    # Bytes.

    def _at(self, raw: bytes) -> int:
        return self._random.randrange(len(raw) + 1)

    def _flip(self, raw: bytes) -> bytes:
        at = self._at(raw)
        return (
            raw[:at]
            + bytes(b ^ (1 << self._random.randrange(8)) for b in raw[at : at + 1])
            + (raw[at + 1 :])
        )

    def _overwrite(self, raw: bytes) -> bytes:
        at, noise = self._at(raw), self._random.randbytes(self._random.choice((1, 2, 4)))
        return raw[:at] + noise + raw[at + len(noise) :]

    def _insert(self, raw: bytes) -> bytes:
        at = self._at(raw)
        return raw[:at] + self._random.choice(TOKENS) + raw[at:]

    def _remove(self, raw: bytes) -> bytes:
        start, end = sorted((self._at(raw), self._at(raw)))
        return raw[:start] + raw[end:]

    def _repeat(self, raw: bytes) -> bytes:
        start = self._at(raw)
        chunk = raw[start : start + self._random.randrange(1, 40)]
        return raw[:start] + chunk * self._random.choice((2, 3, 100)) + raw[start:]

    def _splice(self, raw: bytes) -> bytes:
        other = self._random.choice(self._corpus)
        return raw[: self._at(raw)] + other[self._at(other) :]

    # JSON; the text is looked into when a value holds JSON itself, as frames do.

    def _on_json(self, raw: bytes) -> bytes:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return self._insert(raw)
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            value = self._changed(value, 0)
        # The escapes keep lone surrogates, which UTF-8 could not.
        is_ascii = self._random.random() < 0.5
        return json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")

    def _changed(self, value: Any, depth: int) -> Any:
        if depth and self._random.random() < 0.3:
            return self._random.choice(VALUES)
        if isinstance(value, dict) and value:
            return self._changed_object(dict(value), depth)
        if isinstance(value, list) and value:
            at = self._random.randrange(len(value))
            return [*value[:at], self._changed(value[at], depth + 1), *value[at + 1 :]]
        if isinstance(value, str) and value.startswith("{"):
            try:
                return json.dumps(self._changed(json.loads(value), depth + 1))
            except (ValueError, RecursionError):
                return value
        return self._random.choice(VALUES)

    def _changed_object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        key = self._random.choice(list(value))
        dice = self._random.random()
        if dice < 0.1:
            del value[key]
        elif dice < 0.15:
            value[self._random.choice(("", "\ud800", "version", "text", "x" * 300))] = value[key]
        elif dice < 0.25:
            value[key] = value[self._random.choice(list(value))]
        else:
            value[key] = self._changed(value[key], depth + 1)
        return value
