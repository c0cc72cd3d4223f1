"""Card buttons and organisation events as DingTalk pushes them, read so that none is lost.

The listener reads a ``CardPush`` or an ``EventPush`` with it and translates the result into what
the workers get. Nothing here raises: whatever is missing or odd becomes the field's default. What
is known of the fields stands in docs/protocol.md, "Card buttons" and "Events".
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dingwire.frames import Frame
from dingwire.values import json_object, moment, plain, text, whole_number

__all__ = ["CardCallback", "EventCallback", "parse_card_callback", "parse_event"]


@dataclass(frozen=True)
class CardCallback:
    """Somebody pressed a button of a card; what was entered is left out of ``repr``."""

    out_track_id: str
    corp_id: str
    user_id: str
    user_id_type: int  # 1: a staff id, 2: a union id
    space_id: str
    space_type: str
    action_ids: tuple[str, ...]
    params: dict[str, Any] = field(repr=False)
    rest: dict[str, Any] = field(repr=False)  # what else was in ``content``, and ``extension``

    @property
    def is_group(self) -> bool:
        """Whether DingTalk names the place as a group; it does not always name it."""
        return "GROUP" in self.space_type.upper()

    @property
    def staff_id(self) -> str | None:
        """Who pressed it, inside the organisation; None when only a union id is known."""
        return self.user_id or None if self.user_id_type == 1 else None


@dataclass(frozen=True)
class EventCallback:
    """Something happened in the organisation; its data is left out of ``repr``."""

    event_id: str
    event_type: str
    corp_id: str
    born_at: datetime | None
    data: dict[str, Any] = field(repr=False)


def parse_card_callback(payload: dict[str, Any]) -> CardCallback:
    """Read the payload of a card push."""
    content = plain(json_object(payload.get("content")))
    private = content.pop("cardPrivateData", None)
    private = json_object(private)
    ids = private.get("actionIds")
    rest = {**content, **_named("extension", plain(json_object(payload.get("extension"))))}
    return CardCallback(
        out_track_id=text(payload.get("outTrackId")),
        corp_id=text(payload.get("corpId")),
        user_id=text(payload.get("userId")).strip(),
        user_id_type=2 if whole_number(payload.get("userIdType")) == 2 else 1,
        space_id=text(payload.get("spaceId")),
        space_type=text(payload.get("spaceType")),
        action_ids=tuple(filter(None, map(text, ids))) if isinstance(ids, list) else (),
        params=json_object(private.get("params")),
        rest=rest,
    )


def parse_event(frame: Frame) -> EventCallback:
    """Read an event; what it is stands in the frame's headers, what happened in its data."""
    headers = frame.headers
    return EventCallback(
        event_id=text(headers.get("eventId")),
        event_type=text(headers.get("eventType")) or text(frame.data.get("eventType")),
        corp_id=text(headers.get("eventCorpId")),
        born_at=moment(headers.get("eventBornTime")),
        data=plain(frame.data),
    )


def _named(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {name: value} if value else {}
