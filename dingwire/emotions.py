"""The reaction that a bot puts on a message while it works on the answer, and takes off again.

Called by ``worker/thinking/reaction.py``. Source: docs/protocol.md, "Reactions".
"""

from dataclasses import dataclass

from dingwire.api_faults import check_success
from dingwire.openapi import Api

__all__ = ["THINKING", "Emotion", "Emotions"]

REPLY_PATH = "/v1.0/robot/emotion/reply"
RECALL_PATH = "/v1.0/robot/emotion/recall"
_TEXT_EMOTION = 2


@dataclass(frozen=True)
class Emotion:
    """A reaction; DingTalk knows few of them, and refuses most other words."""

    id: str
    words: str
    background_id: str = "im_bg_1"


THINKING = Emotion("2659900", "🤔思考中")


class Emotions:
    """Reactions of one bot; as safe to share between threads as its client."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def add(
        self, robot_code: str, conversation_id: str, message_id: str, emotion: Emotion = THINKING
    ) -> None:
        """Put a reaction on a message.

        Right after a message has arrived DingTalk may not know it yet, which is an
        :class:`OpenApiUnavailableError`.

        Raises:
            OpenApiError: See :meth:`dingwire.openapi.OpenApiClient.call`.
        """
        self._call(REPLY_PATH, robot_code, conversation_id, message_id, emotion)

    def recall(
        self, robot_code: str, conversation_id: str, message_id: str, emotion: Emotion = THINKING
    ) -> None:
        """Take a reaction off; also one that is not there (any more).

        Raises:
            OpenApiError: As :meth:`add`.
        """
        self._call(RECALL_PATH, robot_code, conversation_id, message_id, emotion)

    def _call(
        self, path: str, robot_code: str, conversation_id: str, message_id: str, emotion: Emotion
    ) -> None:
        body = {
            "robotCode": robot_code,
            "openConversationId": conversation_id,
            "openMsgId": message_id,
            "emotionType": _TEXT_EMOTION,
            "emotionName": emotion.words,
            "textEmotion": {
                "emotionId": emotion.id,
                "emotionName": emotion.words,
                "text": emotion.words,
                "backgroundId": emotion.background_id,
            },
        }
        check_success(self._api.call("POST", path, body))
