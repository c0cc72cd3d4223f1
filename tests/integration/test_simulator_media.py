"""Files both ways: download codes, the storage behind them, and uploads."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import RawBot
from tests.integration.simulator_caller import DOWNLOAD, Caller

MEGABYTE = 1024 * 1024


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        logged_in = Caller(http)
        await logged_in.log_in()
        yield logged_in


async def pushed(simulator: Simulator, kind: str, text: str = "", **more: Any) -> dict[str, Any]:
    """The payload a bot got for a message of this kind."""
    async with RawBot(simulator.endpoint, reply=None) as bot:
        await simulator.until_connected()
        await simulator.say(text, kind=kind, **more)
        await simulator.until(lambda _: bot.messages)
        return bot.messages[0]


async def fetch(caller: Caller, code: str) -> tuple[bytes, str]:
    async with caller.http.get(await caller.address_of(code)) as response:
        return await response.read(), response.content_type


async def test_a_picture_arrives_by_the_codes_of_its_message(simulator, caller):
    content = b"\x89PNG a cat"
    message = await pushed(simulator, "picture", file=simulator.file(content, "cat.png"))

    for name in ("downloadCode", "pictureDownloadCode"):
        assert await fetch(caller, message["content"][name]) == (content, "image/png")
    assert simulator.messages[0].files == ["cat.png"]
    assert [(each.path, each.client_id) for each in simulator.api_calls] == [(DOWNLOAD, "bot")] * 2


@pytest.mark.parametrize(
    ("kind", "start", "media_type"),
    [
        ("picture", b"\x89PNG", "image/png"),
        ("audio", b"#!AMR", "audio/amr"),
        ("video", b"\0\0\0\x18ftyp", "video/mp4"),
        ("file", b"%PDF", "application/pdf"),
    ],
)
async def test_who_names_no_file_sends_a_sample(simulator, caller, kind, start, media_type):
    message = await pushed(simulator, kind)
    content, told = await fetch(caller, message["content"]["downloadCode"])

    assert content.startswith(start)
    assert told == media_type


async def test_rich_text_carries_as_many_pictures_as_were_sent(simulator, caller):
    files = [simulator.file(b"one", "1.png"), simulator.file(b"two", "2.jpg")]
    message = await pushed(simulator, "richText", "look\nhere", file=files)
    items = message["content"]["richText"]

    assert [each.get("text") for each in items] == ["look", "\n", "here", None, None]
    assert await fetch(caller, items[4]["pictureDownloadCode"]) == (b"two", "image/jpeg")


async def test_a_code_is_good_only_for_the_robot_it_was_sent_to(simulator, caller):
    message = await pushed(simulator, "picture")
    other = Caller(caller.http, "other")
    await other.log_in()
    code = message["content"]["downloadCode"]

    async def refused(who: Caller, **body: Any) -> tuple[int, str]:
        status, answer = await who.call(DOWNLOAD, **body)
        return status, answer["code"]

    assert await refused(other, robotCode="other", downloadCode=code) == (
        400,
        "invalidParameter.robotCode.auth",
    )
    assert await refused(other, robotCode="bot", downloadCode=code) == (
        400,
        "invalidParameter.robotCode.auth",
    )
    assert await refused(caller, downloadCode=code) == (400, "invalidParameter.robotCode.empty")
    await simulator.expire_codes()
    assert await refused(caller, robotCode="bot", downloadCode=code) == (
        400,
        "invalidParameter.robotCode.downloadCode",
    )


async def test_a_code_for_a_payload_of_ones_own(simulator, caller):
    code = simulator.download_code(simulator.file(b"bytes", "x.bin"))
    message = await pushed(simulator, "hologram", content={"downloadCode": code})

    assert message["content"]["downloadCode"] == code
    assert await fetch(caller, code) == (b"bytes", "application/octet-stream")


async def test_an_address_ends_and_cannot_be_guessed(simulator, caller):
    code = simulator.download_code(simulator.file(b"bytes", "x.pdf"))
    address = await caller.address_of(code)
    async with caller.http.get(address.split("&Signature")[0]) as response:
        assert response.status == 403
    await simulator.switch(clock_skew_s=601)
    async with caller.http.get(address) as response:
        assert response.status == 403
        assert "Request has expired" in await response.text()


@pytest.mark.parametrize(
    ("mode", "status"), [("redirect", 302), ("html", 200), ("unavailable", 503)]
)
async def test_the_storage_can_answer_something_else(simulator, caller, mode, status):
    await simulator.switch(storage=mode, storage_redirect="http://169.254.169.254/")
    address = await caller.address_of(simulator.download_code(simulator.file(b"x", "x.png")))
    async with caller.http.get(address, allow_redirects=False) as response:
        assert response.status == status
        if mode == "redirect":
            assert response.headers["Location"] == "http://169.254.169.254/"
        if mode == "html":
            assert response.content_type == "text/html"


async def test_the_storage_can_send_too_much_too_slowly_or_too_little(simulator, caller):
    code = simulator.download_code(simulator.file(b"12345678", "x.png"))
    await simulator.switch(storage="oversize", storage_oversize_bytes=300_000)
    assert len((await fetch(caller, code))[0]) == 300_000

    await simulator.switch(storage="slow", storage_pause_s=0.001)
    assert (await fetch(caller, code))[0] == b"12345678"

    await simulator.switch(storage="truncated")
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetch(caller, code)


async def test_the_address_and_the_type_can_be_others(simulator, caller):
    code = simulator.download_code(simulator.file(b"x", "x.png"))
    await simulator.switch(storage_content_type="text/x-shellscript")
    assert await fetch(caller, code) == (b"x", "text/x-shellscript")
    await simulator.switch(storage_url="http://storage.example")
    assert (await caller.address_of(code)).startswith("http://storage.example/storage/")


async def test_an_upload_gets_a_media_id(simulator, caller):
    answer = await caller.upload(b"\x89PNG", "cat.png", "image")

    assert (answer["errcode"], answer["type"]) == (0, "image")
    assert answer["media_id"].startswith("@lA")
    assert simulator.uploaded(answer["media_id"]) == b"\x89PNG"
    (upload,) = simulator.uploads
    assert (upload.client_id, upload.name, upload.size) == ("bot", "cat.png", 4)


async def test_both_kinds_of_token_may_upload_unless_told_otherwise(simulator, caller):
    async with caller.http.get("/gettoken?appkey=bot&appsecret=secret") as response:
        old = (await response.json())["access_token"]
    assert old != caller.token
    assert (await caller.upload(b"x", "a.pdf", "file", old))["errcode"] == 0

    await simulator.switch(upload_token="old")
    assert (await caller.upload(b"x", "a.pdf", "file", old))["errcode"] == 0
    assert (await caller.upload(b"x", "a.pdf", "file"))["errcode"] == 40014


@pytest.mark.parametrize(
    ("content", "name", "kind", "errcode"),
    [
        (b"x", "a.pdf", "hologram", 40004),
        (b"x", "a.exe", "file", 40005),
        (b"x", "a.png", "voice", 40005),
        (b"", "a.png", "image", 44001),
        (b"x" * (2 * MEGABYTE + 1), "a.mp3", "voice", 40006),
        (b"x" * (20 * MEGABYTE + 1), "a.pdf", "file", 40006),
    ],
)
async def test_what_is_too_big_or_of_another_format_is_refused(
    simulator, caller, content, name, kind, errcode
):
    assert (await caller.upload(content, name, kind))["errcode"] == errcode
    assert simulator.uploads[0].errcode == errcode


async def test_an_upload_may_say_its_type_in_the_form_as_the_python_sdk_does(caller):
    form = aiohttp.FormData({"type": "image"})
    form.add_field("media", b"x", filename="a.png")
    query = {"access_token": caller.token}
    async with caller.http.post("/media/upload", params=query, data=form) as response:
        assert (await response.json())["errcode"] == 0


async def test_quotas_and_faults_are_met_by_files_too(simulator, caller):
    await simulator.fail_api("/media/upload", times=1, kind="qps")
    assert (await caller.upload(b"x", "a.pdf", "file"))["errcode"] == 90018
    await simulator.fail_api("/v1.0/robot/*", times=1, kind="permission")
    status, answer = await caller.call(DOWNLOAD, robotCode="bot", downloadCode="x")

    assert (status, answer["code"]) == (
        403,
        "Forbidden.AccessDenied.AccessTokenPermissionDenied",
    )
    assert answer["accessdenieddetail"] == {"requiredScopes": ["qyapi_robot_sendmsg"]}
    assert (await caller.upload(b"x", "a.pdf", "file"))["errcode"] == 0
