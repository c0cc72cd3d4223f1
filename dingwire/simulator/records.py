"""What the simulator remembers of connections, of what people write and of the replies.

The faces write these records into the ``journal``; tests, the control API and the page read them.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BOT_TOPIC",
    "Ack",
    "Connection",
    "Message",
    "Push",
    "Registration",
    "Reply",
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
    kind: str  # ping, disconnect, message, click, event or other
    topic: str
    data: str = field(repr=False)
    at_ms: int = 0
    at_s: float = 0.0  # monotonic, for latencies
    message_id: str | None = None
    ack_code: int | None = None
    client_id: str = ""


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

    ``state`` is lost, queued, pushed, acked, refused, answered, stopped (somebody
    wrote ``/stop`` behind it, and the bot answered that) or expired.
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
    robots: list[str] = field(default_factory=list)  # client ids it was written to by name
    webhooks: dict[str, str] = field(default_factory=dict, repr=False)  # of each of them
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
    robot: str = ""  # whose session it was, when the message was written to a bot by name
    accepted: bool = False
    status: int = 200
    errcode: int = 0
    errmsg: str = "ok"
    after_message_ids: list[str] = field(default_factory=list)
    reply_id: str = field(
        default_factory=lambda: f"reply{uuid.uuid4().hex}"
    )  # ours, to quote it by
