"""A bot without an SDK for the simulator's own tests: raw HTTP and a raw WebSocket."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

import aiohttp

BOT_TOPIC = "/v1.0/im/bot/messages/get"
OPEN = "/v1.0/gateway/connections/open"


def registration(client_id: str = "bot", **more: Any) -> dict[str, Any]:
    return {
        "clientId": client_id,
        "clientSecret": "secret",
        "subscriptions": [{"type": "CALLBACK", "topic": BOT_TOPIC}],
        **more,
    }


class RawBot:
    """Connects on entry, keeps every frame; acks and echoes unless told not to."""

    def __init__(
        self,
        endpoint: str,
        *,
        client_id: str = "bot",
        acks: bool = True,
        code: int = 200,
        reply: Callable[[str], str] | None = lambda text: f"echo: {text}",
        **registered: Any,
    ) -> None:
        self._endpoint = endpoint
        self._body = registration(client_id, **registered)
        self._acks, self._code, self._reply = acks, code, reply
        self.frames: list[dict[str, Any]] = []
        self.raw: list[aiohttp.WSMessage] = []
        self.reply_answers: list[Any] = []

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession()
        async with self.http.post(self._endpoint + OPEN, json=self._body) as response:
            opened = await response.json()
        self.ticket = opened["ticket"]
        self.socket = await self.http.ws_connect(f"{opened['endpoint']}?ticket={self.ticket}")
        self.reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        await self.socket.close()
        await self.http.close()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(each["data"]) for each in self.frames if each["type"] == "CALLBACK"]

    def of_topic(self, topic: str) -> list[dict[str, Any]]:
        return [each for each in self.frames if each["headers"]["topic"] == topic]

    async def ack(self, frame: dict[str, Any], **changes: Any) -> None:
        headers = {
            "messageId": frame["headers"]["messageId"],
            "contentType": "application/json",
        }
        body = {"code": self._code, "headers": headers, "message": "OK", "data": frame["data"]}
        await self.socket.send_json({**body, **changes})

    async def post(self, webhook: str, body: Any) -> Any:
        async with self.http.post(webhook, json=body) as response:
            self.reply_answers.append(await response.json())
            return self.reply_answers[-1]

    async def _read(self) -> None:
        async for received in self.socket:
            self.raw.append(received)
            frame = _frame_or_none(received.data)
            if frame is None:
                continue
            self.frames.append(frame)
            if self._acks and "messageId" in frame["headers"]:
                await self.ack(frame)
            if frame["type"] == "CALLBACK" and self._reply is not None:
                await self._answer(json.loads(frame["data"]), self._reply)

    async def _answer(self, message: dict[str, Any], reply: Callable[[str], str]) -> None:
        said = message.get("text", {}).get("content", f"[{message['msgtype']}]")
        text = reply(said.strip())
        await self.post(message["sessionWebhook"], {"msgtype": "text", "text": {"content": text}})


def _frame_or_none(raw: Any) -> dict[str, Any] | None:
    try:
        frame = json.loads(raw)
    except ValueError:
        return None
    return frame if isinstance(frame, dict) and "headers" in frame else None
