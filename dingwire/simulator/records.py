"""What the simulator remembers of a run, for assertions and for the chat page.

The faces write records here; tests, the control API and the page read them.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "BOT_TOPIC",
    "Ack",
    "ApiCall",
    "Connection",
    "Journal",
    "Message",
    "ProactiveSend",
    "Push",
    "Reaction",
    "Registration",
    "Reply",
    "Upload",
    "as_json",
]

BOT_TOPIC = "/v1.0/im/bot/messages/get"


@dataclass
class Registration:
    """One ``connections/open`` call and the status it was answered with."""

    at_ms: int
    body: Any
    headers: dict[str, str]
    status: int
    ticket: str | None = None


@dataclass
class Connection:
    """One WebSocket; ``state`` is open, draining, mute, half_open or closed."""

    connection_id: str
    client_id: str
    subscriptions: list[dict[str, str]]
    ua: str
    opened_at_ms: int
    state: str = "open"
    closed_at_ms: int | None = None
    close_code: int | None = None
    unanswered_pings: int = 0


@dataclass
class Push:
    """One frame sent to one connection; a redelivery is a push of its own."""

    push_id: str
    connection_id: str
    kind: str  # ping, disconnect, message or other
    topic: str
    data: str = field(repr=False)
    at_ms: int = 0
    at_s: float = 0.0  # monotonic, for latencies
    message_id: str | None = None
    ack_code: int | None = None


@dataclass
class Ack:
    """One frame received from a client."""

    push_id: str
    connection_id: str
    kind: str  # of the push it answers; "unknown" when it answers none, "malformed" when no JSON
    code: int | None
    data: Any
    message: str
    at_ms: int
    latency_s: float | None = None
    data_matches: bool | None = None  # pings only: the opaque came back unchanged
    message_id: str | None = None


@dataclass
class Message:
    """What a person wrote.

    ``state`` is lost, queued, pushed, acked, refused, answered or expired.
    """

    message_id: str
    conversation_id: str
    conversation: str
    is_group: bool
    person: str
    nick: str
    text: str
    kind: str
    created_at_ms: int
    session_webhook: str = field(repr=False)
    expires_at_ms: int = 0
    state: str = "queued"
    pushes: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list, repr=False)
    payload: dict[str, Any] = field(default_factory=dict, repr=False)
    omitted: tuple[str, ...] = ()  # payload members that are not sent
    raw_data: str | None = field(default=None, repr=False)  # sent instead of the payload
    topic: str = BOT_TOPIC
    codes: list[str] = field(default_factory=list, repr=False)  # download codes in the payload
    files: list[str] = field(default_factory=list)  # names of what was sent along
    quoted: str = ""  # text of the message this one answers
    reactions: list[str] = field(default_factory=list)  # emotions of bots that stand now

    @property
    def msg_id(self) -> str:
        """The wire's name of :attr:`message_id`."""
        return self.message_id


@dataclass
class Reply:
    """One post to a session webhook, accepted into the chat or not."""

    conversation_id: str | None
    conversation: str | None
    at_ms: int
    body: Any
    headers: dict[str, str] = field(repr=False)
    text: str = ""
    mentioned: list[str] = field(default_factory=list)  # staff ids the group sees @-mentioned
    accepted: bool = False
    status: int = 200
    errcode: int = 0
    errmsg: str = "ok"
    after_message_ids: list[str] = field(default_factory=list)


@dataclass
class ProactiveSend:
    """One call of a proactive send, accepted or not."""

    at_ms: int
    body: Any
    headers: dict[str, str] = field(repr=False)
    client_id: str = ""
    conversation_ids: list[str] = field(default_factory=list)
    process_query_key: str = ""
    text: str = ""
    accepted: bool = False
    code: str = "ok"


@dataclass
class ApiCall:
    """One call of the OpenAPI, token calls apart; ``client_id`` is empty without a valid token."""

    at_ms: int
    method: str
    path: str
    client_id: str
    body: Any = field(repr=False)
    status: int = 200
    code: str = "ok"


@dataclass
class Reaction:
    """One call for an emotion on a message: ``action`` is reply or recall."""

    at_ms: int
    action: str
    client_id: str
    message_id: str
    conversation_id: str
    name: str
    accepted: bool = False
    code: str = "ok"


@dataclass
class Upload:
    """One file a bot uploaded, accepted or not; ``kind`` is its ``type``."""

    at_ms: int
    client_id: str
    kind: str
    name: str
    size: int
    media_id: str = ""
    errcode: int = 0
    errmsg: str = "ok"


class Journal:
    """All records of a run, oldest first, and who wants to hear of new ones."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str, Any], None]] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything except the listeners."""
        self.registrations: list[Registration] = []
        self.tickets_seen: list[str] = []
        self.connections: list[Connection] = []
        self.pushes: dict[str, Push] = {}
        self.acks: list[Ack] = []
        self.messages: dict[str, Message] = {}
        self.replies: list[Reply] = []
        self.proactive: list[ProactiveSend] = []
        self.api_calls: list[ApiCall] = []
        self.uploads: list[Upload] = []
        self.reactions: list[Reaction] = []

    def listen(self, listener: Callable[[str, Any], None]) -> Callable[[], None]:
        """Call ``listener(kind, record)`` after each change; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self, kind: str, record: Any) -> None:
        """Tell the listeners that a record is new or has changed."""
        for listener in tuple(self._listeners):
            listener(kind, record)


def as_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON values."""
    return asdict(record)
