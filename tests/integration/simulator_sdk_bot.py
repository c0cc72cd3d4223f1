"""An echo bot on the official Python SDK, run as a process of its own.

The SDK reads DINGTALK_OPENAPI_ENDPOINT when it is imported, so the test sets the environment.
"""

import dingtalk_stream
from dingtalk_stream import AckMessage, CallbackMessage, ChatbotHandler, ChatbotMessage


class Echo(ChatbotHandler):  # type: ignore[misc]  # the SDK has no types
    async def process(self, callback: CallbackMessage) -> tuple[int, str]:
        message = ChatbotMessage.from_dict(callback.data)
        text = message.text.content.strip()
        if text == "markdown please":
            self.reply_markdown("Title", "python: **bold**", message)
        else:
            self.reply_text(f"python: {text}", message)
        return AckMessage.STATUS_OK, "OK"


if __name__ == "__main__":
    client = dingtalk_stream.DingTalkStreamClient(
        dingtalk_stream.Credential("python-bot", "secret")
    )
    client.register_callback_handler(ChatbotMessage.TOPIC, Echo())
    client.start_forever()
