"""What an endpoint's errors mean: give up, try again, or say less.

Nothing of an endpoint's own words is shown: they quote keys and what people wrote. Its codes are,
as far as they look like codes.
"""

import re
from typing import Any

import openai

from worker.agents.context import AgentError

__all__ = ["BusyError", "TooLongError", "meant_by"]

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{2,63}")
_REFUSED = {
    401: "OpenAI endpoint refused the key (401)",
    402: "OpenAI endpoint wants to be paid first (402)",
    403: "OpenAI endpoint says that this key may not do this (403)",
    404: "OpenAI endpoint knows no such model, or OPENAI_BASE_URL is not its address (404)",
    413: "OpenAI endpoint says that this is too large (413)",
}
_AGAIN = frozenset({408, 409, 425, 429})
# A quota that is used up is no matter of seconds, whatever its status.
_PAID = ("insufficient_quota", "insufficient_balance", "arrearage", "billing")
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
# As OpenAI and vLLM, DashScope, llama.cpp and Ollama, LiteLLM say it, in small letters.
_TOO_LONG = (
    *("maximum context length", "context length exceeded", "exceeds context length"),
    *("range of input length", "exceeds the available context size", "prompt is too long"),
    *("context window", "maximum model length", "input is too long"),
)
_LONGEST_WAIT_S = 3600.0


class BusyError(Exception):
    """It may work later; the text is safe to show."""

    def __init__(self, text: str, after_s: float | None = None) -> None:
        """Keep when.

        Args:
            text: What is shown.
            after_s: When the endpoint wants to be asked again, if it says so.
        """
        super().__init__(text)
        self.after_s = after_s


class TooLongError(Exception):
    """The model takes less at once."""


def meant_by(error: Exception) -> AgentError | BusyError | TooLongError:
    """Return what to raise in its place.

    Args:
        error: An :class:`openai.OpenAIError`, or what comes of an answer that is none.
    """
    if isinstance(error, openai.APITimeoutError):
        return BusyError("OpenAI endpoint did not answer in time")
    if isinstance(error, openai.APIConnectionError):
        return BusyError("OpenAI endpoint cannot be reached, or broke the connection off")
    code = getattr(error, "code", None)
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    if isinstance(error, openai.APIStatusError):
        return _status(error, code)
    if isinstance(error, openai.APIError):  # in the middle of a stream
        return _in_words(error) or BusyError(f"OpenAI endpoint failed while it answered{_of(code)}")
    return AgentError("OpenAI endpoint answered with what is no chat completion")


def _status(error: openai.APIStatusError, code: str) -> AgentError | BusyError | TooLongError:
    status = error.status_code
    if any(word in code.lower() for word in _PAID):
        return AgentError(f"OpenAI endpoint says that its quota is used up ({status}, {code})")
    if status in _AGAIN or status >= 500:
        # Ollama and llama.cpp have said 500 for it.
        words = "has too many requests" if status == 429 else "is not well"
        return _in_words(error) or BusyError(
            f"OpenAI endpoint {words} ({status})", _retry_after_s(error.response.headers)
        )
    if status in (400, 413, 422) and (too_long := _in_words(error)) is not None:
        return too_long
    text = _REFUSED.get(status)
    return AgentError(text or f"OpenAI endpoint refused the request ({status}{_and(code)})")


def _in_words(error: openai.APIError) -> TooLongError | None:
    """Return that it was too long, if that is what is said."""
    said = f"{error.message} {error.body}".lower()
    is_so = error.code in _TOO_LONG_CODES or any(words in said for words in _TOO_LONG)
    return TooLongError() if is_so else None


def _retry_after_s(headers: Any) -> float | None:
    """Return when it wants to be asked again; dates, which hardly anybody sends, are not read."""
    for name, per_s in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            after_s = float(headers.get(name, "")) / per_s
        except ValueError:
            continue
        if 0 <= after_s <= _LONGEST_WAIT_S:
            return after_s
    return None


def _and(code: str) -> str:
    return f", {code}" if code else ""


def _of(code: str) -> str:
    return f" ({code})" if code else ""
