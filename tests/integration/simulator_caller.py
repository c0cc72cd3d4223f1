"""A bot's calls of the simulator's OpenAPI: raw HTTP, no SDK."""

import io
from typing import Any

import aiohttp

TOKEN_HEADER = "x-acs-dingtalk-access-token"
DOWNLOAD = "/v1.0/robot/messageFiles/download"


class Caller:
    """Calls the API as the app ``bot`` does."""

    def __init__(self, http: aiohttp.ClientSession, client_id: str = "bot") -> None:
        self.http = http
        self.client_id = client_id
        self.token = ""

    async def log_in(self, secret: str = "secret") -> tuple[int, Any]:
        body = {"appKey": self.client_id, "appSecret": secret}
        status, answer = await self.post("/v1.0/oauth2/accessToken", body)
        self.token = answer.get("accessToken", self.token)
        return status, answer

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        async with self.http.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def call(self, path: str, method: str = "POST", **body: Any) -> tuple[int, Any]:
        headers = {TOKEN_HEADER: self.token}
        async with self.http.request(method, path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def address_of(self, code: str) -> str:
        status, answer = await self.call(DOWNLOAD, robotCode=self.client_id, downloadCode=code)
        assert status == 200, answer
        return str(answer["downloadUrl"])

    async def upload(
        self, content: bytes, name: str, kind: str, token: str | None = None
    ) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("media", io.BytesIO(content), filename=name)
        query = {"access_token": self.token if token is None else token, "type": kind}
        async with self.http.post("/media/upload", params=query, data=form) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer
