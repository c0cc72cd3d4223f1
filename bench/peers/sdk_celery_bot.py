"""Peer (b), its listener: the official SDK, and a Celery task for each message.

Acknowledged when the broker has it: Redis has answered, RabbitMQ has confirmed.
"""

import os

import dingtalk_stream
from dingtalk_stream import AckMessage, ChatbotMessage

from bench.peers.sdk_celery_tasks import answer


class Enqueue(dingtalk_stream.ChatbotHandler):  # type: ignore[misc]
    """Puts what was written on the queue."""

    async def process(self, callback: dingtalk_stream.CallbackMessage) -> tuple[int, str]:
        answer.delay(callback.data)
        return AckMessage.STATUS_OK, "OK"


def main() -> None:
    """Listen for ever."""
    credential = dingtalk_stream.Credential(
        os.environ["DINGTALK_CLIENT_ID"], os.environ["DINGTALK_CLIENT_SECRET"]
    )
    client = dingtalk_stream.DingTalkStreamClient(credential)
    client.register_callback_handler(ChatbotMessage.TOPIC, Enqueue())
    client.start_forever()


if __name__ == "__main__":
    main()
