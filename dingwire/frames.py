"""One frame of a Stream connection, and the answer to it.

Used by ``protocol.py``, and by the listener to write its acks. What is known of frames stands in
docs/protocol.md, "Frames".
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dingwire.errors import FrameError
from dingwire.values import json_object, moment, text

__all__ = [
    "ALL_EVENTS",
    "BOT_DELEGATE",
    "BOT_MESSAGE",
    "CARD_CALLBACK",
    "Frame",
    "FrameKind",
    "ack",
    "parse_frame",
]

BOT_MESSAGE = "/v1.0/im/bot/messages/get"
BOT_DELEGATE = "/v1.0/im/bot/messages/delegate"  # to a bot that acts for a person
CARD_CALLBACK = "/v1.0/card/instances/callback"
ALL_EVENTS = "*"


class FrameKind(StrEnum):
    """The frame's ``type``; what DingTalk may add later is UNKNOWN, not an error."""

    SYSTEM = "SYSTEM"
    EVENT = "EVENT"
    CALLBACK = "CALLBACK"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Frame:
    """One push from DingTalk.

    ``data`` is the object inside the frame's JSON string, empty when that holds none;
    ``raw_data`` is the string itself. Neither is shown by ``repr``.
    """

    kind: FrameKind
    topic: str = ""
    push_id: str = ""  # headers.messageId; new for each push, also of the same message
    connection_id: str = ""
    time: datetime | None = None
    headers: dict[str, Any] = field(default_factory=dict, repr=False)
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    raw_data: str = field(default="", repr=False)


def parse_frame(raw: str | bytes) -> Frame:
    """Read one message of the WebSocket.

    Lenient where DingTalk is known to vary: missing headers, ``header`` for ``headers``, ``data``
    as an object, UTF-8 bytes instead of text.

    Raises:
        FrameError: It is not a JSON object.
    """
    frame = _json_object(raw)
    headers = _object(frame.get("headers")) or _object(frame.get("header"))
    data = frame.get("data")
    return Frame(
        kind=_kind(frame.get("type")),
        topic=text(headers.get("topic")),
        push_id=text(headers.get("messageId")),
        connection_id=text(headers.get("connectionId")),
        time=moment(headers.get("time")),
        headers=headers,
        data=json_object(data),
        raw_data=data if isinstance(data, str) else "" if data is None else json.dumps(data),
    )


def _json_object(raw: str | bytes) -> dict[str, Any]:
    reason = "not a JSON object"
    try:
        parsed = json.loads(raw.decode() if isinstance(raw, bytes) else raw)
    except UnicodeDecodeError:
        parsed, reason = None, "not UTF-8"
    except (ValueError, RecursionError):
        parsed, reason = None, "not JSON"
    # Raised here and not above: the parser's own error carries the whole content with it.
    if not isinstance(parsed, dict):
        raise FrameError(f"malformed frame of {len(raw)} characters or bytes: {reason}")
    return parsed


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _kind(value: object) -> FrameKind:
    known = isinstance(value, str) and value in FrameKind.__members__
    return FrameKind(str(value)) if known else FrameKind.UNKNOWN


def ack(
    frame: Frame, *, code: int = 200, message: str = "OK", data: dict[str, Any] | str | None = None
) -> str:
    """Return the JSON text that answers ``frame``.

    Args:
        frame: The push; its id goes back with the answer.
        code: 200 for taken over, 404 for a topic nobody handles, 500 for an error of ours.
        message: For DingTalk's diagnosis only.
        data: The answer's content, or JSON text of it. Left out, a SYSTEM frame gets its own data
            back, an event SUCCESS (with another code than 200 LATER, which asks for it again),
            and a callback an empty response.
    """
    content = _default_data(frame, code) if data is None else data
    answer = {
        "code": code,
        "headers": {"messageId": frame.push_id, "contentType": "application/json"},
        "message": message,
        "data": content if isinstance(content, str) else json.dumps(content, ensure_ascii=False),
    }
    return json.dumps(answer)


def _default_data(frame: Frame, code: int) -> dict[str, Any] | str:
    if frame.kind is FrameKind.SYSTEM:
        return frame.raw_data or "{}"
    if frame.kind is FrameKind.EVENT:
        return {"status": "SUCCESS" if code == 200 else "LATER", "message": ""}
    return '{"response":null}'
