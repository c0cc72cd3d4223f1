"""Reactions, over real HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dingwire.emotions import Emotions
from dingwire.errors import OpenApiRefusedError, OpenApiUnavailableError
from dingwire.openapi import OpenApiClient
from tests.unit.dingwire.local_server import LocalServer, Told

ADD, RECALL = "/v1.0/robot/emotion/reply", "/v1.0/robot/emotion/recall"


@pytest.fixture
def emotions(server: LocalServer) -> Iterator[Emotions]:
    server.answers_at(
        "/v1.0/oauth2/accessToken", Told(200, {"accessToken": "token-1", "expireIn": 7200})
    )
    client = OpenApiClient(
        endpoint=server.url,
        client_id="id",
        client_secret="secret-of-app",
        clock=lambda: datetime.now(UTC),
    )
    yield Emotions(client)
    client.close()


def test_a_reaction_is_added_and_recalled_by_the_same_words(emotions, server):
    server.answers({"success": True})

    emotions.add("robot", "cid1==", "msg1+/==")
    emotions.recall("robot", "cid1==", "msg1+/==")

    (added,), (recalled,) = server.posts_to(ADD), server.posts_to(RECALL)
    assert added.body == recalled.body
    assert added.body == {
        "robotCode": "robot",
        "openConversationId": "cid1==",
        "openMsgId": "msg1+/==",
        "emotionType": 2,
        "emotionName": "🤔思考中",
        "textEmotion": {
            "emotionId": "2659900",
            "emotionName": "🤔思考中",
            "text": "🤔思考中",
            "backgroundId": "im_bg_1",
        },
    }


@pytest.mark.parametrize("status", [400, 500])
def test_a_message_that_dingtalk_does_not_know_yet_is_worth_another_try(emotions, server, status):
    server.answers({"code": "system.err", "message": "try later"}, status=status)

    with pytest.raises(OpenApiUnavailableError):
        emotions.add("robot", "cid1", "msg1")


@pytest.mark.parametrize("success", [False, "false"])
def test_http_200_is_not_taken_for_success(emotions, server, success):
    server.answers({"success": success})

    with pytest.raises(OpenApiRefusedError):
        emotions.add("robot", "cid1", "msg1")
