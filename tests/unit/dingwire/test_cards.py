"""Cards, over real HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dingwire.cards import CardNotDeliveredError, Cards, in_group, in_private
from dingwire.errors import OpenApiRefusedError, OpenApiUnavailableError
from dingwire.openapi import OpenApiClient
from tests.unit.dingwire.local_server import LocalServer, Told

CREATE = "/v1.0/card/instances/createAndDeliver"
UPDATE, STREAM = "/v1.0/card/instances", "/v1.0/card/streaming"


def delivered(**more: Any) -> dict[str, Any]:
    place = {"spaceType": "IM_GROUP", "spaceId": "cid1", "success": True, "carrierId": "key"}
    result = {"outTrackId": "card1", "deliverResults": [place | more]}
    return {"success": True, "result": result}


@pytest.fixture
def cards(server: LocalServer) -> Iterator[Cards]:
    server.answers_at(
        "/v1.0/oauth2/accessToken", Told(200, {"accessToken": "token-1", "expireIn": 7200})
    )
    server.answers({"success": True, "result": True})
    client = OpenApiClient(
        endpoint=server.url,
        client_id="id",
        client_secret="secret-of-app",
        clock=lambda: datetime.now(UTC),
    )
    yield Cards(client)
    client.close()


def create(cards: Cards) -> bool:
    return cards.create(
        "card1", template_id="t.schema", place=in_group("robot", "cid1"), values={"content": ""}
    )


def test_a_card_is_made_in_a_group(cards, server):
    server.answers_at(CREATE, Told(200, delivered()))

    is_new = cards.create(
        "card1",
        template_id="t.schema",
        place=in_group("robot", "cid1==", at={"u100": "Alice"}),
        values={"content": "你好", "config": {"autoLayout": True}, "count": 3},
    )

    assert is_new
    (seen,) = server.posts_to(CREATE)
    assert seen.body == {
        "cardTemplateId": "t.schema",
        "outTrackId": "card1",
        "callbackType": "STREAM",
        "cardData": {
            "cardParamMap": {"content": "你好", "config": '{"autoLayout": true}', "count": "3"}
        },
        "userIdType": 1,
        "openSpaceId": "dtv1.card//IM_GROUP.cid1==",
        "imGroupOpenSpaceModel": {"supportForward": True},
        "imGroupOpenDeliverModel": {"robotCode": "robot", "atUserIds": {"u100": "Alice"}},
    }


def test_a_card_is_made_in_a_private_chat(cards, server):
    server.answers_at(CREATE, Told(200, delivered()))

    cards.create("card1", template_id="t", place=in_private("robot", "u100"), values={})

    (seen,) = server.posts_to(CREATE)
    assert seen.body["openSpaceId"] == "dtv1.card//IM_ROBOT.u100"
    assert seen.body["imRobotOpenDeliverModel"] == {"spaceType": "IM_ROBOT", "robotCode": "robot"}
    assert "imGroupOpenDeliverModel" not in seen.body


@pytest.mark.parametrize("success", [False, "false"])
def test_a_conversation_that_did_not_take_the_card_says_so_with_http_200(cards, server, success):
    server.answers_at(CREATE, Told(200, delivered(success=success, errorMsg="not in the group")))

    with pytest.raises(CardNotDeliveredError, match="IM_GROUP: not in the group"):
        create(cards)


def test_a_card_that_is_there_already_is_no_error(cards, server):
    server.answers_at(CREATE, Told(400, {"code": "param.cardAlreadyExist", "message": "exists"}))

    assert create(cards) is False


@pytest.mark.parametrize(
    "body", [{"success": True}, {"success": True, "result": None}, {"success": True, "result": []}]
)
def test_an_answer_that_tells_nothing_of_places_is_believed(cards, server, body):
    server.answers_at(CREATE, Told(200, body))

    assert create(cards)


def test_only_named_variables_are_changed(cards, server):
    cards.update("card1", {"flowStatus": "3"}, private={"u100": {"voted": True}})

    (seen,) = server.posts_to(UPDATE)
    assert seen.body == {
        "outTrackId": "card1",
        "cardData": {"cardParamMap": {"flowStatus": "3"}},
        "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
        "userIdType": 1,
        "privateData": {"u100": {"cardParamMap": {"voted": "true"}}},
    }


def test_the_whole_text_is_streamed_each_time_under_a_new_id(cards, server):
    cards.stream("card1", "one")
    cards.stream("card1", "one two", is_final=True)

    first, last = (seen.body for seen in server.posts_to(STREAM))
    assert first.pop("guid") != last.pop("guid")
    assert first == {
        "outTrackId": "card1",
        "key": "content",
        "content": "one",
        "isFull": True,
        "isFinalize": False,
        "isError": False,
    }
    assert last == first | {"content": "one two", "isFinalize": True}


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (Told(400, {"code": "param.stream.outTrackId", "message": "no card"}), OpenApiRefusedError),
        (Told(200, {"success": False, "result": False}), OpenApiRefusedError),
        (Told(500, {"code": "system.busy", "message": "busy"}), OpenApiUnavailableError),
        (
            Told(403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "message": ""}),
            OpenApiUnavailableError,
        ),
    ],
    ids=["no card", "no success", "busy", "too fast"],
)
def test_what_goes_wrong_in_a_stream_is_told_apart(cards, server, told, kind):
    server.answers_at(STREAM, told)

    with pytest.raises(kind):
        cards.stream("card1", "words")
