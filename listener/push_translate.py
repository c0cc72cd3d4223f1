"""Card buttons and events in our words; used by ``listener/pushes.py``. Pure, and never raises."""

import hashlib
import uuid
from datetime import datetime

from contract.pushes import CardAction, OrgEvent
from dingwire.callbacks import CardCallback, EventCallback
from dingwire.frames import Frame

__all__ = ["to_card_action", "to_org_event"]

# Real ones have some 40 characters; the id stands in a header that has to fit into one AMQP frame.
LONGEST_ID = 256


def to_card_action(
    card: CardCallback, frame: Frame, *, client_id: str, received_at: datetime
) -> CardAction:
    """Translate one press of a button."""
    return CardAction(
        bot=client_id,
        client_id=client_id,
        push_id=_short(frame.push_id) or _derived_id(frame),
        received_at=received_at,
        out_track_id=card.out_track_id,
        action_ids=card.action_ids,
        params=card.params,
        user_id=card.user_id,
        user_id_type=card.user_id_type,
        corp_id=card.corp_id,
        space_id=card.space_id,
        space_type=card.space_type,
        rest=card.rest,
    )


def to_org_event(
    event: EventCallback, frame: Frame, *, client_id: str, received_at: datetime
) -> OrgEvent:
    """Translate one event."""
    return OrgEvent(
        bot=client_id,
        client_id=client_id,
        push_id=frame.push_id,
        received_at=received_at,
        event_id=_short(event.event_id) or _short(frame.push_id) or _derived_id(frame),
        event_type=event.event_type,
        corp_id=event.corp_id,
        born_at=event.born_at,
        data=event.data,
    )


def _short(identity: str) -> str:
    return identity if len(identity) <= LONGEST_ID else ""


def _derived_id(frame: Frame) -> str:
    """Return an id for a push without one: the same for a copy, as far as one can be told."""
    if frame.time is None:  # then a second press of the button looks the same as a copy
        return f"derived-{uuid.uuid4().hex}"
    content = f"{frame.time.timestamp()}\n{frame.raw_data}".encode("utf-8", "replace")
    return f"derived-{hashlib.sha256(content).hexdigest()[:32]}"
