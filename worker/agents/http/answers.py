"""What the server answers, read with care: it is a program of the operator's, and may be broken.

Pure. Nothing that the server wrote is in an error's text but a short code of its own.
"""

import base64
import binascii
import json
import re
from typing import Any, get_args

from dingwire.replies import InvalidReplyError, Reply, from_agent_text
from worker.agents.context import AgentError, Retry

__all__ = ["BadAnswerError", "json_of", "replies_in", "reply_of", "retry_after_s"]

_KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(Reply)}
_MEMBERS = frozenset({"reply", "retry_after_s", "error"})
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FIELD = re.compile(r"[a-z_]{1,30}")
_LONGEST_S = 86_400.0


class BadAnswerError(AgentError):
    """The server failed, or answered with what is no reply; the text is safe to show."""


def json_of(content: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        BadAnswerError: It is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadAnswerError("answered with what is no JSON") from None


def replies_in(answer: Any) -> list[Reply | str]:
    """Return what an answer says: a text alone as it is, so that it may be shown as it grows.

    Args:
        answer: A JSON object with one of ``reply``, ``retry_after_s`` and ``error``.

    Raises:
        Retry: The server asks to be asked again.
        BadAnswerError: It is none of these, or says that the server failed.
    """
    if not isinstance(answer, dict) or not _MEMBERS & answer.keys():
        raise BadAnswerError("answered without any of reply, retry_after_s and error")
    if answer.get("error") is not None:
        raise BadAnswerError(f"failed: {_code(answer['error'])}")
    if answer.get("retry_after_s") is not None:
        after_s = _seconds(answer["retry_after_s"])
        raise Retry(after_s) from BadAnswerError(f"asked to be asked again in {after_s:g} s")
    said = answer.get("reply")
    if not isinstance(said, list):
        return [] if said is None else [reply_of(said)]
    # Made replies of, or texts that stand apart would become one.
    return [_apart(each) for each in map(reply_of, said) if not _is_blank(each)]


def reply_of(value: Any) -> Reply | str:
    """Return one reply: text, or an object of one of the kinds in docs/agents.md.

    Raises:
        BadAnswerError: It is neither, or DingTalk would refuse it.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise BadAnswerError("answered with a reply that is neither text nor an object")
    kind = _KINDS.get(value["kind"]) if isinstance(value.get("kind"), str) else None
    if kind is None:
        raise BadAnswerError("answered with a reply of no known kind")
    _check_names(value)
    try:
        made: Reply = kind(**_with_content(value))
    except InvalidReplyError as error:
        raise BadAnswerError(str(error)) from None
    return made


def _is_blank(reply: Reply | str) -> bool:
    return isinstance(reply, str) and not reply.strip()


def _apart(reply: Reply | str) -> Reply:
    return from_agent_text(reply) if isinstance(reply, str) else reply


def retry_after_s(header: str | None) -> float | None:
    """Return what a ``Retry-After`` says; None when it says nothing in seconds."""
    if header is None or not (header.isascii() and header.isdigit()):
        return None
    return min(float(header), _LONGEST_S)


def _check_names(value: Any) -> None:
    """Refuse names that no field has: an error that shows them could show anything."""
    for each in value if isinstance(value, list) else ():
        _check_names(each)
    for name, each in value.items() if isinstance(value, dict) else ():
        if not _FIELD.fullmatch(name):
            raise BadAnswerError("answered with a reply that has a field of no known name")
        if name != "values":  # a card's variables are called as its template says
            _check_names(each)


def _with_content(value: dict[str, Any]) -> dict[str, Any]:
    """Return it with bytes for what travels as base64; paths of ours are nobody else's to name."""
    if "path" in value:
        raise BadAnswerError("answered with a path: give data in base64, a url or a media_id")
    made = dict(value)
    if isinstance(made.get("data"), str):
        try:
            made["data"] = base64.b64decode(made["data"], validate=True)
        except (binascii.Error, ValueError):
            raise BadAnswerError("answered with data that is no base64") from None
    if isinstance(made.get("cover"), dict):
        made["cover"] = _with_content(made["cover"])
    return made


def _code(value: Any) -> str:
    """Return what the server calls its error, if that is a word and no sentence."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "error"


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise BadAnswerError("answered with a retry_after_s that is no number of seconds")
    return float(min(value, _LONGEST_S))  # whole numbers may be larger than a float can be
