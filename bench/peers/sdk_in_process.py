"""Peer (a): the official SDK, and the agent in the process that holds the socket.

What its tutorial shows, in threads so that one answer does not keep the next from being read, and
acknowledged when the answer is out.
"""

import asyncio
import os

import dingtalk_stream
from dingtalk_stream import AckMessage, ChatbotMessage


class Echo(dingtalk_stream.ChatbotHandler):  # type: ignore[misc]
    """Answers with what was written."""

    async def process(self, callback: dingtalk_stream.CallbackMessage) -> tuple[int, str]:
        message = ChatbotMessage.from_dict(callback.data)
        answer = f"echo: {message.text.content.strip()}"
        await asyncio.to_thread(self.reply_text, answer, message)
        return AckMessage.STATUS_OK, "OK"


def main() -> None:
    """Listen for ever."""
    credential = dingtalk_stream.Credential(
        os.environ["DINGTALK_CLIENT_ID"], os.environ["DINGTALK_CLIENT_SECRET"]
    )
    client = dingtalk_stream.DingTalkStreamClient(credential)
    client.register_callback_handler(ChatbotMessage.TOPIC, Echo())
    client.start_forever()


if __name__ == "__main__":
    main()
