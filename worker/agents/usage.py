"""What agents used of language models, as the story of a message, its outcome and metrics tell it.

``worker/asking.py`` sums up what one run of an agent used.
"""

from collections.abc import Sequence
from typing import Any

from worker.agents.context import Usage

__all__ = ["summed", "usage_in_words"]


def summed(usage: Sequence[Usage]) -> list[dict[str, Any]]:
    """Return it by model, in the order of their first calls.

    Returns:
        ``model``, ``calls``, ``input_tokens`` and ``output_tokens`` of each; tokens that were not
        told of one of its calls are None. What an agent tells that is no count is not told.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in usage:
        model = str(each.model)
        own = found.setdefault(
            model, {"model": model, "calls": 0, "input_tokens": 0, "output_tokens": 0}
        )
        own["calls"] += _count(each.calls) or 0
        for name in ("input_tokens", "output_tokens"):
            told = _count(getattr(each, name))
            own[name] = None if told is None or own[name] is None else own[name] + told
    return list(found.values())


def _count(told: object) -> int | None:
    is_count = isinstance(told, int) and not isinstance(told, bool) and told >= 0
    return told if is_count else None  # type: ignore[return-value]  # it is one


def usage_in_words(usage: Sequence[dict[str, Any]]) -> str:
    """Say it on one line; "" of nothing."""
    return "; ".join(map(_one, usage))


def _one(own: dict[str, Any]) -> str:
    calls = own.get("calls")
    given, made = own.get("input_tokens"), own.get("output_tokens")
    tokens = f"{given} tokens in, {made} out"
    if given is None or made is None:
        tokens = "its tokens were not told"
    return f"{calls} {'call' if calls == 1 else 'calls'} of {own.get('model') or '?'}, {tokens}"
