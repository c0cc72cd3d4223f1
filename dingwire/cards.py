"""Interactive cards: made and delivered in one call, changed, and streamed into.

Called by ``worker/thinking/card.py`` for answers that grow, and by whoever changes a card after a
click. Values are text on the wire, whatever they are here; and HTTP 200 says little: each place a
card was sent to says for itself whether it took it. Source: docs/protocol.md, "Cards".
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dingwire.api_faults import check_success
from dingwire.errors import OpenApiRefusedError, shown
from dingwire.openapi import Api
from dingwire.values import text

__all__ = ["CardNotDeliveredError", "Cards", "FlowStatus", "Place", "in_group", "in_private"]

CREATE_PATH = "/v1.0/card/instances/createAndDeliver"
UPDATE_PATH = "/v1.0/card/instances"
STREAM_PATH = "/v1.0/card/streaming"

_EXISTS = "param.cardAlreadyExist"


class FlowStatus(StrEnum):
    """What an AI card shows beside its text; the value of its variable ``flowStatus``."""

    PROCESSING = "1"
    INPUTTING = "2"
    FINISHED = "3"
    EXECUTING = "4"
    FAILED = "5"


class CardNotDeliveredError(OpenApiRefusedError):
    """The card was made, and a conversation did not take it."""


@dataclass(frozen=True)
class Place:
    """A conversation that a card is delivered to; from :func:`in_group` or :func:`in_private`."""

    space_id: str
    models: Mapping[str, Any]


def in_group(
    robot_code: str, conversation_id: str, *, at: Mapping[str, str] | None = None
) -> Place:
    """Return a group the bot is in.

    Args:
        robot_code: The bot.
        conversation_id: ``openConversationId`` (cid…).
        at: Names of those to mention, by their staff ids.
    """
    deliver: dict[str, Any] = {"robotCode": robot_code}
    if at:
        deliver["atUserIds"] = dict(at)
    return Place(
        f"dtv1.card//IM_GROUP.{conversation_id}",
        {
            "imGroupOpenSpaceModel": {"supportForward": True},
            "imGroupOpenDeliverModel": deliver,
        },
    )


def in_private(robot_code: str, staff_id: str) -> Place:
    """Return the private chat of the bot with one person."""
    return Place(
        f"dtv1.card//IM_ROBOT.{staff_id}",
        {
            "imRobotOpenSpaceModel": {"supportForward": True},
            "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT", "robotCode": robot_code},
        },
    )


class Cards:
    """Cards of one bot; as safe to share between threads as its client.

    A card is known by its ``track_id``, which the caller makes: 100 characters at most, and a new
    one for each card. Every method raises :class:`OpenApiError`, see
    :meth:`dingwire.openapi.OpenApiClient.call`.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(
        self, track_id: str, *, template_id: str, place: Place, values: Mapping[str, Any]
    ) -> bool:
        """Make a card and deliver it; its buttons report by the Stream connection.

        Args:
            track_id: Names the card from now on.
            template_id: Of the card platform (….schema).
            place: The conversation.
            values: The template's variables.

        Returns:
            False when there was a card of this name already, which stays as it is.

        Raises:
            CardNotDeliveredError: It is in no conversation.
        """
        body = {
            "cardTemplateId": template_id,
            "outTrackId": track_id,
            "callbackType": "STREAM",
            "cardData": {"cardParamMap": _as_texts(values)},
            "userIdType": 1,
            "openSpaceId": place.space_id,
            **place.models,
        }
        try:
            answer = self._api.call("POST", CREATE_PATH, body)
        except OpenApiRefusedError as error:
            if error.code != _EXISTS:
                raise
            return False
        check_success(answer)
        _check_delivered(answer)
        return True

    def update(
        self,
        track_id: str,
        values: Mapping[str, Any],
        *,
        private: Mapping[str, Mapping[str, Any]] | None = None,
        user_id_type: int = 1,
    ) -> None:
        """Change some variables of a card; the others keep their values.

        Doing it again changes nothing.

        Args:
            track_id: Of the card.
            values: Seen by everybody.
            private: Seen by one person each, by their user ids.
            user_id_type: Whether those are staff ids (1) or union ids (2).
        """
        body: dict[str, Any] = {
            "outTrackId": track_id,
            "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
            "userIdType": user_id_type,
        }
        if values or not private:  # there is an error for public data that is empty
            body["cardData"] = {"cardParamMap": _as_texts(values)}
        if private:
            body["privateData"] = {
                user: {"cardParamMap": _as_texts(own)} for user, own in private.items()
            }
        check_success(self._api.call("PUT", UPDATE_PATH, body))

    def stream(
        self,
        track_id: str,
        content: str,
        *,
        key: str = "content",
        is_final: bool = False,
        is_error: bool = False,
    ) -> None:
        """Show what there is of a text that grows.

        Args:
            track_id: Of the card.
            content: All of it, each time: what is Markdown cannot be sent in pieces.
            key: The template's variable.
            is_final: Nothing follows.
            is_error: Nothing follows, because something went wrong.
        """
        body = {
            "outTrackId": track_id,
            "guid": uuid.uuid4().hex,
            "key": key,
            "content": content,
            "isFull": True,
            "isFinalize": is_final,
            "isError": is_error,
        }
        check_success(self._api.call("PUT", STREAM_PATH, body))


def _as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def _check_delivered(answer: Mapping[str, Any]) -> None:
    result = answer.get("result")
    places = result.get("deliverResults") if isinstance(result, dict) else None
    for place in places if isinstance(places, list) else []:
        try:
            check_success(place if isinstance(place, dict) else {})
        except OpenApiRefusedError:
            code = text(place.get("spaceType")) or "a place"
            message = f"not delivered to {code}: {shown(place.get('errorMsg'))}"
            raise CardNotDeliveredError("not delivered", message) from None
