"""People who press a button of a card, and what the bot's ack does to the card.

``server`` owns one :class:`Clicks`.
"""

import json
from typing import Any

from dingwire.simulator.bot_records import Card, Click
from dingwire.simulator.cardparts import changed_params, shown_text
from dingwire.simulator.records import Ack
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.world import CORP_ID, World

__all__ = ["CARD_TOPIC", "Clicks"]

CARD_TOPIC = "/v1.0/card/instances/callback"


class Clicks:
    """Pushes each click to the card's bot and applies what comes back in time."""

    def __init__(self, world: World, switchboard: Switchboard) -> None:
        self._world = world
        self._switchboard = switchboard
        world.journal.listen(self._heard)

    def click(self, card: Card, person: str, action_id: str, params: dict[str, Any]) -> Click:
        """Press a button; the click is lost when no connection of the bot takes card callbacks."""
        world = self._world
        world.person(person)
        data = _callback(card, person, action_id, params, world)
        click = Click(world.now_ms(), card.out_track_id, person, action_id, params, data)
        world.journal.clicks.append(click)
        if card.callback_type == "STREAM":
            self._push(click, card)
        world.journal.changed("click", click)
        return click

    def _push(self, click: Click, card: Card) -> None:
        push = self._switchboard.push_to(
            CARD_TOPIC, click.data, kind="click", client_id=card.client_id
        )
        if push is None:
            return
        click.pushes.append(push.push_id)
        click.state = "pushed"
        faults = self._world.faults
        self._switchboard.later(faults.card_ack_s, lambda: self._too_late(click))
        if faults.redeliver_after_s and len(click.pushes) <= faults.redeliver_times:
            self._switchboard.later(faults.redeliver_after_s, lambda: self._again(click, card))

    def _again(self, click: Click, card: Card) -> None:
        is_acked = click.state in ("applied", "unchanged")
        if not is_acked or self._world.faults.redeliver_acked:
            self._push(click, card)

    def _too_late(self, click: Click) -> None:
        if click.state == "pushed":
            self._move(click, "unanswered")

    def _heard(self, kind: str, record: Any) -> None:
        if kind != "ack" or not isinstance(record, Ack) or record.kind != "click":
            return
        for click in self._world.journal.clicks:
            if record.push_id in click.pushes:
                self._answered(click, record)

    def _answered(self, click: Click, ack: Ack) -> None:
        click.ack = ack.data
        response = ack.data.get("response") if isinstance(ack.data, dict) else None
        if ack.code != 200:
            self._move(click, "refused")
        elif (ack.latency_s or 0) > self._world.faults.card_ack_s:
            self._move(click, "late")
        elif not isinstance(response, dict):
            self._move(click, "malformed")
        else:
            self._apply(click, response)

    def _apply(self, click: Click, response: dict[str, Any]) -> None:
        card = self._world.journal.cards.get(click.out_track_id)
        public, private = _params(response, "cardData"), _params(response, "userPrivateData")
        if card is None or (public is None and private is None):
            self._move(click, "unchanged")
            return
        options = response.get("cardUpdateOptions") or {}
        if public is not None:
            by_key = options.get("updateCardDataByKey") is True
            card.params = changed_params(card.params, public, by_key)
        if private is not None:
            by_key = options.get("updatePrivateDataByKey") is True
            old = card.private.get(click.person, {})
            card.private[click.person] = changed_params(old, private, by_key)
        card.text = shown_text(card.params, card.stream_key)
        self._world.journal.changed("card", card)
        self._move(click, "applied")

    def _move(self, click: Click, state: str) -> None:
        click.state = state
        self._world.journal.changed("click", click)


def _callback(card: Card, person: str, action_id: str, params: dict[str, Any], world: World) -> str:
    place = world.conversations.get(next(iter(card.places), ""))
    is_group = place is not None and place.is_group
    private = {"cardPrivateData": {"actionIds": [action_id], "params": params}}
    data = {
        "type": "actionCallback",
        "outTrackId": card.out_track_id,
        "corpId": CORP_ID,
        "userId": person,
        "userIdType": 1,
        "spaceType": "IM_GROUP" if is_group else "IM_ROBOT",
        "spaceId": place.conversation_id if place is not None and is_group else person,
        "extension": "{}",
        "content": json.dumps(private, ensure_ascii=False),
    }
    return json.dumps(data, ensure_ascii=False)


def _params(response: dict[str, Any], member: str) -> dict[str, str] | None:
    """A ``cardParamMap`` of text; None when there is none to apply."""
    data = response.get(member)
    params = data.get("cardParamMap") if isinstance(data, dict) else None
    is_text = isinstance(params, dict) and all(isinstance(each, str) for each in params.values())
    return dict(params) if is_text and params else None
