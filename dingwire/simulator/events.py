"""Events of the organisation: pushed, and pushed again until they are acked SUCCESS.

``server`` owns one :class:`Events`.
"""

import json
import uuid
from typing import Any

from dingwire.simulator.bot_records import Event
from dingwire.simulator.records import Ack
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.world import CORP_ID, World

__all__ = ["Events"]

EVENT_TOPIC = "*"
LONGER = 3  # the second retry waits so many times as long as the first


class Events:
    """Pushes events and plans their retries."""

    def __init__(self, world: World, switchboard: Switchboard) -> None:
        self._world = world
        self._switchboard = switchboard
        world.journal.listen(self._heard)

    def push(self, event_type: str, data: Any, *, client_id: str | None) -> Event:
        """Let something happen in the organisation."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        event = Event(str(uuid.uuid4()), event_type, text, self._world.now_ms(), client_id)
        self._world.journal.events.append(event)
        self._attempt(event)
        return event

    def _attempt(self, event: Event) -> None:
        event.attempts += 1
        push = self._switchboard.push_to(
            EVENT_TOPIC,
            event.data,
            kind="event",
            client_id=event.client_id,
            frame_kind="EVENT",
            headers=_headers(event),
        )
        attempt = event.attempts
        if push is None:
            self._failed(event, "lost")
            return
        event.pushes.append(push.push_id)
        self._move(event, "pushed")
        self._switchboard.later(
            self._world.faults.event_ack_s, lambda: self._too_late(event, attempt)
        )

    def _too_late(self, event: Event, attempt: int) -> None:
        if event.state == "pushed" and event.attempts == attempt:
            self._failed(event, "unanswered")

    def _heard(self, kind: str, record: Any) -> None:
        if kind != "ack" or not isinstance(record, Ack) or record.kind != "event":
            return
        for event in self._world.journal.events:
            if record.push_id in event.pushes and event.state != "done":
                self._answered(event, record)

    def _answered(self, event: Event, ack: Ack) -> None:
        status = ack.data.get("status") if isinstance(ack.data, dict) else None
        if ack.code == 200 and status != "LATER":
            self._move(event, "done")
        elif event.state == "pushed":
            self._failed(event, "later" if status == "LATER" else "refused")

    def _failed(self, event: Event, state: str) -> None:
        """Try again, as long as there are tries; the event is given up then."""
        faults = self._world.faults
        if not faults.event_retry_s or event.attempts > faults.event_retries:
            self._move(event, "given_up" if faults.event_retry_s else state)
            return
        self._move(event, state)
        wait_s = faults.event_retry_s * LONGER ** (event.attempts - 1)
        attempt = event.attempts
        self._switchboard.later(wait_s, lambda: self._again(event, attempt))

    def _again(self, event: Event, attempt: int) -> None:
        if event.state != "done" and event.attempts == attempt:
            self._attempt(event)

    def _move(self, event: Event, state: str) -> None:
        event.state = state
        self._world.journal.changed("event", event)


def _headers(event: Event) -> dict[str, str]:
    return {
        "eventType": event.event_type,
        "eventId": event.event_id,
        "eventCorpId": CORP_ID,
        "eventBornTime": str(event.born_at_ms),
        "eventUnifiedAppId": str(uuid.uuid5(uuid.NAMESPACE_URL, event.client_id or "any")),
    }
