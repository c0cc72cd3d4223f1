"""Fetching files from the simulated DingTalk: its codes, its storage, and how they fail."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dingwire.errors import (
    MediaError,
    MediaNotAllowedError,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
    MediaWrongTypeError,
)
from dingwire.media import MediaClient
from dingwire.media_hosts import MediaHosts
from dingwire.openapi import OpenApiClient
from dingwire.simulator import SimulatorThread

PICTURE = b"\x89PNG\r\n\x1a\n" + b"a cat" * 50_000


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as running:
        yield running


def client(simulator: SimulatorThread, timeout_s: float = 60) -> MediaClient:
    api = OpenApiClient(
        endpoint=simulator.endpoint,
        client_id="ding1",
        client_secret="secret",
        clock=lambda: datetime.now(UTC),
    )
    hosts = MediaHosts.parse([simulator.webhook_host])
    return MediaClient(api, hosts, max_bytes=1024 * 1024, timeout_s=timeout_s)


@pytest.fixture
def code(simulator: SimulatorThread) -> str:
    return simulator.download_code(simulator.file(PICTURE, "cat.png"))


def fetch(media: MediaClient, code: str, folder):
    return media.download(code, robot_code="ding1", kind="picture", to=folder / "1")


def test_a_picture_comes_whole(simulator, code, tmp_path):
    path = fetch(client(simulator), code, tmp_path)

    assert path.read_bytes() == PICTURE
    assert path.suffix == ".png"


def test_with_a_token_that_ended_it_comes_with_the_next(simulator, code, tmp_path):
    media = client(simulator)
    fetch(media, code, tmp_path).unlink()
    simulator.invalidate_tokens()

    assert fetch(media, code, tmp_path).read_bytes() == PICTURE


def test_an_old_code_and_anothers_are_refused(simulator, code, tmp_path):
    of_another = simulator.download_code(simulator.file(PICTURE, "cat.png"), "ding2")
    with pytest.raises(MediaRefusedError, match="auth"):
        fetch(client(simulator), of_another, tmp_path)
    simulator.expire_codes()

    with pytest.raises(MediaRefusedError, match="downloadCode"):
        fetch(client(simulator), code, tmp_path)


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        ("redirect", MediaNotAllowedError),
        ("html", MediaWrongTypeError),
        ("unavailable", MediaUnavailableError),
        ("oversize", MediaTooLargeError),
        ("truncated", MediaUnavailableError),
    ],
)
def test_a_storage_that_fails_leaves_no_file(simulator, code, tmp_path, storage, error):
    simulator.switch(storage=storage)

    with pytest.raises(error) as caught:
        fetch(client(simulator), code, tmp_path)

    assert code not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_trickle_is_given_up_in_time(simulator, code, tmp_path):
    simulator.switch(storage="slow", storage_pause_s=0.3)

    with pytest.raises(MediaError):
        fetch(client(simulator, timeout_s=1), code, tmp_path)

    assert list(tmp_path.iterdir()) == []
