"""What went over the wire, word for word, with every secret shortened when it is shown.

``wiretap`` notes HTTP calls, ``stream`` and ``line`` frames; the chat page's panel and
``GET /control/records?kind=wire`` show them. The last :data:`KEPT` are kept.
"""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KEPT", "Exchange", "Wire", "readable", "shortened"]

KEPT = 500
SHOWN_CHARACTERS = 20_000  # of each text inside a body
MAX_BYTES = 256 * 1024  # what is longer is not kept, only how long it was

SECRET_MEMBERS = frozenset(
    {"clientSecret", "appSecret", "client_secret", "appsecret", "ticket", "downloadCode"}
    | {"pictureDownloadCode", "accessToken", "access_token", "authorization", "Authorization"}
)
SECRET_QUERY = re.compile(
    r"((?:[?&]|\A)(?:session|ticket|access_token|appsecret|client_secret|Signature|OSSAccessKeyId)=)"
    r"([^&\s\"\\]+)"
)
# Of what is no JSON: cut off, or with something around it.
SECRET_TEXT = re.compile(rf'("(?:{"|".join(sorted(SECRET_MEMBERS))})"\s*:\s*")([^"\\]+)')
DEEPEST = 40  # nobody nests deeper; a recursion must end


@dataclass
class Exchange:
    """A frame, or an HTTP call with its answer.

    Attributes:
        number: Counts up from 1; an exchange that changes keeps its number.
        way: ``in`` from the bot, ``out`` to it.
        kind: registration, push, ack, ping (and its ack), webhook or api.
        title: Frame type and topic, or method and path.
        status: HTTP status, or an ack's code; None while a call waits, and for pushes; 0 for a call
            that was cut off.
        took_ms: From the call to its answer, from the push to its ack.
        request: The frame, or the call's body; JSON text as it was sent.
        response: The answer's body.
    """

    number: int
    at_ms: int
    way: str
    kind: str
    title: str
    client_id: str = ""
    message_id: str = ""
    status: int | None = None
    took_ms: int | None = None
    request: str = field(default="", repr=False)
    response: str = field(default="", repr=False)

    def shown(self) -> dict[str, Any]:
        """As plain JSON values, without secrets."""
        return {
            "number": self.number,
            "at_ms": self.at_ms,
            "way": self.way,
            "kind": self.kind,
            "title": _without_query_secrets(self.title),
            "client_id": self.client_id,
            "message_id": self.message_id,
            "status": self.status,
            "took_ms": self.took_ms,
            "request": shortened(_value(self.request)),
            "response": shortened(_value(self.response)),
        }


class Wire:
    """The last exchanges, and who wants to hear of more."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Exchange], None]] = []
        self._count = 0
        self.clear()

    def clear(self) -> None:
        """Forget them; numbers go on."""
        self.exchanges: deque[Exchange] = deque(maxlen=KEPT)

    def note(self, at_ms: int, way: str, kind: str, title: str, **more: Any) -> Exchange:
        """Keep one more; see :class:`Exchange`."""
        self._count += 1
        exchange = Exchange(self._count, at_ms, way, kind, title, **more)
        self.exchanges.append(exchange)
        self.changed(exchange)
        return exchange

    def changed(self, exchange: Exchange) -> None:
        """Tell the listeners of one that is new or has its answer now."""
        for listener in tuple(self._listeners):
            listener(exchange)

    def listen(self, listener: Callable[[Exchange], None]) -> Callable[[], None]:
        """Call ``listener`` for each; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def readable(raw: str | bytes, kind: str = "text") -> str:
    """A body or frame as it is kept: its text, or ``kind`` and size when it is too long."""
    if len(raw) > MAX_BYTES:
        return f"{kind}, {len(raw)} bytes"
    return raw if isinstance(raw, str) else raw.decode(errors="replace")


def shortened(value: Any, left: int = DEEPEST) -> Any:
    """A JSON value whose secrets show their first characters only, also inside JSON text.

    What is nested deeper than ``left`` is left out.
    """
    if isinstance(value, dict | list) and not left:
        return "…"
    if isinstance(value, dict):
        return {
            name: _short(each)
            if name in SECRET_MEMBERS and isinstance(each, str)
            else shortened(each, left - 1)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [shortened(each, left - 1) for each in value]
    if not isinstance(value, str):
        return value
    inner = _value(value) if left and value[:1] in ("{", "[") else value
    if isinstance(inner, str):
        value = SECRET_TEXT.sub(lambda found: found[1] + _short(found[2]), value)
    else:
        value = json.dumps(shortened(inner, left - 1), ensure_ascii=False)
    return _without_query_secrets(value)[:SHOWN_CHARACTERS]


def _short(secret: str) -> str:
    return secret[:4] + "…" if len(secret) > 12 else "…"


def _without_query_secrets(text: str) -> str:
    return SECRET_QUERY.sub(lambda found: found[1] + _short(found[2]), text)


def _value(text: str) -> Any:
    """The JSON value of a text, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
