"""Interactive cards: made, delivered, changed and streamed into by bots.

``server`` mounts :class:`Cards`; ``clicks`` plays the people who press their buttons.
"""

import uuid
from typing import Any

from aiohttp import web

from dingwire.simulator.access import Access, Call
from dingwire.simulator.bot_records import Card
from dingwire.simulator.cardparts import (
    changed_params,
    checked_params,
    deliver_model,
    private_params,
    refuse,
    shown_text,
    spaces,
)
from dingwire.simulator.world import Conversation, World

__all__ = ["Cards"]

INSTANCES = "/v1.0/card/instances"
MAX_TRACK_ID = 100
BUSY_FLOWS = frozenset({"1", "2"})  # processing, inputting
ENDS = {"3": "finished", "5": "failed"}
OPEN_STATES = frozenset({"created", "delivered", "streaming"})


class Cards:
    """Every card by its ``outTrackId``."""

    def __init__(self, world: World, access: Access) -> None:
        self._world = world
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        """The routes of cards."""
        guarded = self._access.guarded
        return [
            web.post(INSTANCES, guarded(self._create)),
            web.put(INSTANCES, guarded(self._update)),
            web.post(INSTANCES + "/deliver", guarded(self._deliver)),
            web.post(INSTANCES + "/createAndDeliver", guarded(self._create_and_deliver)),
            web.put("/v1.0/card/streaming", guarded(self._stream)),
        ]

    def _create(self, call: Call) -> dict[str, Any]:
        card = self._new_card(call)
        self._keep(card)
        return {"success": True, "result": card.out_track_id}

    def _deliver(self, call: Call) -> dict[str, Any]:
        card = self._known(call, "param.cardNotExist")
        return {
            "success": True,
            "result": self._to_spaces(card, call, {**card.models, **call.body}),
        }

    def _create_and_deliver(self, call: Call) -> dict[str, Any]:
        card = self._new_card(call)
        results = self._to_spaces(card, call, call.body)
        result = {"outTrackId": card.out_track_id, "deliverResults": results}
        return {"success": True, "result": result}

    def _new_card(self, call: Call) -> Card:
        """A card that is not kept yet, so that a refusal leaves nothing behind."""
        body, faults = call.body, self._world.faults
        track_id, template = body.get("outTrackId"), body.get("cardTemplateId")
        if not template:
            refuse("param.cardTemplateIdEmpty")
        if not track_id:
            refuse("param.outTrackIdEmpty")
        if not isinstance(track_id, str) or len(track_id) > MAX_TRACK_ID:
            refuse("param.invalid", "outTrackId is invalid")
        if faults.card_templates and template not in faults.card_templates:
            refuse("param.templateNotExist")
        if "cardData" not in body:
            refuse("param.cardPublicDataEmpty")
        if track_id in self._world.journal.cards:
            refuse("param.cardAlreadyExist")
        return Card(
            out_track_id=track_id,
            client_id=call.client_id,
            template_id=str(template),
            callback_type=str(body.get("callbackType", "")),
            created_at_ms=self._world.now_ms(),
            params=self._checked(body["cardData"]),
            private=private_params(body, faults.card_value_max),
            models={name: each for name, each in body.items() if name.endswith("SpaceModel")},
        )

    def _known(self, call: Call, code: str) -> Card:
        track_id = call.body.get("outTrackId")
        if not track_id:
            refuse("param.outTrackIdEmpty")
        card = self._world.journal.cards.get(str(track_id))
        if card is None or card.client_id != call.client_id:
            refuse(code)
        return card

    def _to_spaces(self, card: Card, call: Call, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Deliver to each space; one that refuses is told in the answer, with HTTP 200."""
        wanted = spaces(body.get("openSpaceId"))
        for kind, _ in wanted:
            deliver_model(body, kind, call.client_id)
        results = []
        for kind, space_id in wanted:
            place, complaint = self._place(kind, space_id, call.client_id)
            result = {"spaceType": kind, "spaceId": space_id, "success": place is not None}
            carrier_id = str(uuid.uuid4()) if place is not None else ""
            results.append({**result, "carrierId": carrier_id, "errorMsg": complaint})
            if place is not None:
                card.places[place.conversation_id] = carrier_id
        if card.places and card.state == "created":
            card.state = "delivered"
        self._keep(card)
        return results

    def _place(self, kind: str, space_id: str, client_id: str) -> tuple[Conversation | None, str]:
        if space_id in self._world.faults.card_refusing_spaces:
            return None, "the space does not take the card"
        if kind == "IM_ROBOT":
            if space_id not in self._world.people:
                return None, "userId does not exist"
            return self._world.chat_with(space_id, client_id), ""
        group = self._world.conversations.get(space_id)
        if group is None or not group.is_group:
            return None, "the robot is not in the conversation"
        return group, ""

    def _update(self, call: Call) -> dict[str, Any]:
        card = self._known(call, "param.cardNotExist")
        body, limit = call.body, self._world.faults.card_value_max
        if not body.get("cardData") and not body.get("privateData"):
            refuse("param.cardDataAndPrivateDataBothEmpty")
        options = body.get("cardUpdateOptions") or {}
        if body.get("cardData"):
            by_key = options.get("updateCardDataByKey") is True
            card.params = changed_params(card.params, self._checked(body["cardData"]), by_key)
        by_key = options.get("updatePrivateDataByKey") is True
        for person, params in private_params(body, limit).items():
            card.private[person] = changed_params(card.private.get(person, {}), params, by_key)
        card.updates += 1
        card.state = ENDS.get(card.params.get("flowStatus", ""), card.state)
        self._keep(card)
        return {"success": True, "result": True}

    def _stream(self, call: Call) -> dict[str, Any]:
        body, faults = call.body, self._world.faults
        for name, code in (
            ("guid", "guidEmpty"),
            ("key", "keyEmpty"),
            ("outTrackId", "outTrackId"),
        ):
            if not body.get(name):
                refuse(f"param.stream.{code}")
        content, is_error = body.get("content"), body.get("isError") is True
        if not isinstance(content, str) or not (content or is_error):
            refuse("param.stream.contentEmpty")
        if 0 < faults.stream_content_max < len(content):
            refuse("param.stream.content", "200092")
        if self._world.complaint(content):
            refuse("param.contentUnsafe")
        is_full = body.get("isFull", False)
        if not isinstance(is_full, bool) or (faults.stream_full_only and not is_full):
            refuse("param.stream.isFull")
        card = self._known(call, "param.stream.outTrackId")
        if card.state not in OPEN_STATES:
            card.streams_after_end += 1
        elif body["guid"] not in card.guids:
            self._write(card, body, content, is_full=is_full)
        return {"success": True, "result": True}

    def _write(self, card: Card, body: dict[str, Any], content: str, *, is_full: bool) -> None:
        key = str(body["key"])
        card.guids.append(str(body["guid"]))
        card.streams += 1
        card.stream_key = key
        card.params[key] = content if is_full else card.params.get(key, "") + content
        card.state = "streaming"
        if body.get("isError") is True:
            card.state = "failed"
        elif body.get("isFinalize") is True:
            card.state = "finished"
        self._keep(card)

    def _checked(self, data: Any) -> dict[str, str]:
        params = checked_params(data, self._world.faults.card_value_max)
        if self._world.complaint("\n".join(params.values())):
            refuse("param.contentUnsafe")
        return params

    def _keep(self, card: Card) -> None:
        """Remember the card and show it; once nobody writes it any more it is an answer."""
        card.text = shown_text(card.params, card.stream_key)
        self._world.journal.cards[card.out_track_id] = card
        is_being_written = card.state == "streaming" or card.params.get("flowStatus") in BUSY_FLOWS
        if card.state == "finished" or (card.text and not is_being_written):
            for place in card.places:
                if place not in card.answered_in:
                    card.answered_in.append(place)
                    self._world.answered(place, card.text, card.client_id)
        self._world.journal.changed("card", card)
