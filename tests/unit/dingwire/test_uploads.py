"""Uploading what a reply holds, against a server that answers as DingTalk's old API does."""

import logging
from datetime import UTC, datetime

import pytest

from dingwire.errors import (
    MediaNotUploadedError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
)
from dingwire.openapi import OpenApiClient
from dingwire.replies import Audio, File, Image, Media, Video
from dingwire.uploads import MEGABYTE, Uploads, upload_base
from tests.unit.dingwire.local_server import LocalServer, Told

TOKEN = "t0ken-that-is-never-shown"
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SECRET_PATH = "/srv/salaries-of-everybody.pdf"
COVER = Image(media_id="@lADcover")


@pytest.fixture
def api(server: LocalServer):
    server.answers_at("/v1.0/oauth2/accessToken", Told(200, {"accessToken": TOKEN}))
    client = OpenApiClient(
        endpoint=server.url, client_id="app", client_secret="secret", clock=lambda: NOW
    )
    yield client
    client.close()


@pytest.fixture
def uploads():
    uploads = Uploads(timeout_s=(60, 60))
    yield uploads
    uploads.close()


def _path(kind: str, token: str = TOKEN) -> str:
    return f"/media/upload?access_token={token}&type={kind}"


@pytest.mark.parametrize(
    ("media", "kind", "name"),
    [
        (Image(data=b"picture", name="a.PNG"), "image", "image.png"),
        (File(data=b"report", name="工资 2026.pdf"), "file", "file.pdf"),
        (Audio(data=b"voice", name="a.amr", duration_s=1), "voice", "voice.amr"),
        (Video(data=b"film", name="a.mp4", duration_s=1, cover=COVER), "video", "video.mp4"),
    ],
)
def test_each_kind_is_uploaded_as_documented(uploads, api, server, media, kind, name):
    server.answers({"errcode": 0, "errmsg": "ok", "media_id": "@lAD1", "type": kind})

    assert uploads.upload(api, media) == "@lAD1"

    (seen,) = server.posts_to(_path(kind))
    assert f'name="media"; filename="{name}"'.encode() in seen.body
    assert media.data in seen.body
    assert "x-acs-dingtalk-access-token" not in {header.lower() for header in seen.headers}


def test_a_file_is_read_from_its_path(uploads, api, server, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    server.answers({"errcode": 0, "media_id": "@lAD1"})

    assert uploads.upload(api, File(path=tmp_path / "a.pdf")) == "@lAD1"


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (File(path=SECRET_PATH), "cannot read it: No such file"),
        (File(path="/srv/salaries\0.pdf"), "cannot read it: no file has such a name"),
        (Audio(data=b"x" * (2 * MEGABYTE + 1), name="a.amr", duration_s=1), "more than 2 MB"),
        (Image(data=b"x" * (20 * MEGABYTE + 1)), "more than 20 MB"),
    ],
    ids=["missing", "nul", "voice", "image"],
)
def test_what_dingtalk_would_not_take_is_not_sent(uploads, api, server, media: Media, reason):
    with pytest.raises(MediaNotUploadedError, match=reason) as caught:
        uploads.upload(api, media)

    assert "salaries" not in str(caught.value)
    assert server.seen == []


def test_a_file_of_the_largest_size_is_sent(uploads, api, server):
    server.answers({"errcode": 0, "media_id": "@lAD1"})

    assert uploads.upload(api, Audio(data=b"x" * 2 * MEGABYTE, name="a.amr", duration_s=1))


def test_an_empty_file_is_not_sent(uploads, api, server, tmp_path):
    (tmp_path / "a.pdf").touch()

    with pytest.raises(MediaNotUploadedError, match="empty"):
        uploads.upload(api, File(path=tmp_path / "a.pdf"))

    assert server.seen == []


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (Told(200, {"errcode": 40005, "errmsg": f"x {TOKEN}"}), OpenApiRefusedError),
        (Told(200, {"errcode": 90018, "errmsg": "x"}), OpenApiUnavailableError),
        (Told(200, {"errcode": 130101, "errmsg": "x"}), OpenApiThrottledError),
        (Told(200, {"errcode": 0, "errmsg": "ok"}), OpenApiUnavailableError),
        (Told(502, "<html>bad gateway</html>"), OpenApiUnavailableError),
        (Told(302, "", {"Location": "https://evil.example/"}), OpenApiRefusedError),
        (Told(hangs_up=True), OpenApiUnavailableError),
    ],
)
def test_what_goes_wrong_is_told_without_the_token(uploads, api, server, caplog, told, error):
    server.answers_at(_path("file"), told)

    with caplog.at_level(logging.DEBUG, logger="dingwire"), pytest.raises(error) as caught:
        uploads.upload(api, File(data=b"x", name="a.pdf"))

    assert TOKEN not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert TOKEN not in str(caught.value.__context__)


def test_an_upload_that_is_not_answered_ends_in_time(uploads, api, server):
    """The fixture would wait for a minute."""
    server.answers_at(_path("file"), Told(hangs=True))

    with pytest.raises(OpenApiUnavailableError, match="no answer within the time limit"):
        uploads.upload(api, File(data=b"x", name="a.pdf"), within_s=0.5)


def test_a_token_that_is_not_valid_any_more_is_renewed_once(uploads, api, server):
    fresh = "another-t0ken"
    tokens = [Told(200, {"accessToken": each}) for each in (TOKEN, fresh)]
    server.answers_at("/v1.0/oauth2/accessToken", *tokens)
    server.answers_at(_path("file"), Told(200, {"errcode": 40014, "errmsg": "x"}))
    server.answers_at(_path("file", fresh), Told(200, {"errcode": 0, "media_id": "@lAD1"}))

    assert uploads.upload(api, File(data=b"x", name="a.pdf")) == "@lAD1"


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("https://api.dingtalk.com", "https://oapi.dingtalk.com"),
        ("https://api.dingtalk.io", "https://oapi.dingtalk.io"),
        ("https://pre-api.dingtalk.com", "https://pre-oapi.dingtalk.com"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("https://api.dingtalk.com.evil.example", "https://api.dingtalk.com.evil.example"),
        ("https://ding.corp.example", "https://ding.corp.example"),
    ],
)
def test_uploads_go_to_the_old_api_beside_the_new_one(endpoint, base):
    assert upload_base(endpoint) == base
