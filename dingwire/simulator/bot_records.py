"""What the simulator remembers of its bots' calls, and of the cards they made.

The faces write these records into the ``journal``; tests, the control API and the page read them.
"""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ApiCall", "Card", "Click", "Event", "ProactiveSend", "Reaction", "Upload"]


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
class Card:
    """A card by its ``outTrackId``.

    Attributes:
        params: Its public ``cardParamMap``; ``private`` has one for each person that has one.
        places: The carrier id in each conversation it was delivered to.
        models: The space models it was made with.
        state: created, delivered, streaming, finished or failed.
        text: What people read on it.
        stream_key: The variable that was streamed into last.
        streams: Streaming calls that changed it; ``streams_after_end`` came too late to.
        updates: Calls that replaced or merged its parameters.
    """

    out_track_id: str
    client_id: str
    template_id: str
    callback_type: str
    created_at_ms: int
    params: dict[str, str]
    private: dict[str, dict[str, str]] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict, repr=False)
    places: dict[str, str] = field(default_factory=dict)
    state: str = "created"
    text: str = ""
    stream_key: str = ""
    streams: int = 0
    streams_after_end: int = 0
    updates: int = 0
    guids: list[str] = field(default_factory=list, repr=False)
    answered_in: list[str] = field(default_factory=list, repr=False)

    @property
    def conversation_ids(self) -> list[str]:
        """Where it was delivered."""
        return list(self.places)


@dataclass
class Click:
    """A button somebody pressed.

    ``state`` is lost, pushed, applied (the ack changed the card), unchanged, late, unanswered,
    refused or malformed.
    """

    at_ms: int
    out_track_id: str
    person: str
    action_id: str
    params: dict[str, Any]
    data: str = field(repr=False)
    pushes: list[str] = field(default_factory=list)
    state: str = "lost"
    ack: Any = None


@dataclass
class Event:
    """Something that happened in the organisation.

    ``state`` is pushed, done, later, refused, unanswered or lost (and tried again), or given_up.
    """

    event_id: str
    event_type: str
    data: str = field(repr=False)
    born_at_ms: int
    client_id: str | None = None
    state: str = "lost"
    attempts: int = 0
    pushes: list[str] = field(default_factory=list)
