"""A bot on the official Python SDK, run as a process of its own.

It echoes text, measures pictures, and makes a card whose button it answers. The SDK reads
DINGTALK_OPENAPI_ENDPOINT when it is imported, so the test sets the environment.
"""

from typing import Any

import dingtalk_stream
import requests
from dingtalk_stream import (
    AckMessage,
    CallbackHandler,
    CallbackMessage,
    CardReplier,
    ChatbotHandler,
    ChatbotMessage,
    EventHandler,
    EventMessage,
)
from dingtalk_stream.card_callback import CardCallbackMessage


class Echo(ChatbotHandler):  # type: ignore[misc]  # the SDK has no types
    def size(self, message: ChatbotMessage) -> int:
        address = self.get_image_download_url(message.image_content.download_code)
        return len(requests.get(address, timeout=30).content)

    async def process(self, callback: CallbackMessage) -> tuple[int, str]:
        message = ChatbotMessage.from_dict(callback.data)
        if message.message_type == "picture":
            self.reply_text(f"python: {self.size(message)} bytes", message)
            return AckMessage.STATUS_OK, "OK"
        text = message.text.content.strip()
        if text == "markdown please":
            self.reply_markdown("Title", "python: **bold**", message)
        elif text == "card please":
            card = CardReplier(self.dingtalk_client, message)
            card.create_and_deliver_card("a.schema", {"content": "may I?", "status": "open"})
        else:
            self.reply_text(f"python: {text}", message)
        return AckMessage.STATUS_OK, "OK"


class Buttons(CallbackHandler):  # type: ignore[misc]
    async def process(self, callback: CallbackMessage) -> tuple[int, dict[str, Any]]:
        clicked = CardCallbackMessage.from_dict(callback.data)
        action = clicked.content["cardPrivateData"]["actionIds"][0]
        shown = {"status": f"{action} by {clicked.user_id}"}
        return AckMessage.STATUS_OK, {
            "cardUpdateOptions": {"updateCardDataByKey": True},
            "cardData": {"cardParamMap": shown},
        }


class Events(EventHandler):  # type: ignore[misc]
    async def process(self, event: EventMessage) -> tuple[int, str]:
        return AckMessage.STATUS_OK, event.headers.event_type


if __name__ == "__main__":
    client = dingtalk_stream.DingTalkStreamClient(
        dingtalk_stream.Credential("python-bot", "secret")
    )
    client.register_callback_handler(ChatbotMessage.TOPIC, Echo())
    client.register_callback_handler(CallbackHandler.TOPIC_CARD_CALLBACK, Buttons())
    client.register_all_event_handler(Events())
    client.start_forever()
