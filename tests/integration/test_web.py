"""The Procfile's ``web``: real Flower processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.servers import free_port, wait_for
from worker.web import NoPortError, PublicWithoutAuthenticationError, flower_arguments

ROOT = Path(__file__).resolve().parents[2]
LOGIN = ("admin", "correct-horse")


@contextmanager
def running_web(folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "worker.web"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(folder)}
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment | variables, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)


def status(address: str, login: tuple[str, str] | None = None) -> int | None:
    try:
        return requests.get(address, auth=login, timeout=5).status_code
    except requests.ConnectionError:
        return None


def up(process: subprocess.Popen[bytes], folder: Path, address: str) -> None:
    def answers() -> bool:
        assert process.poll() is None, (folder / "web.log").read_text()
        return status(address) is not None

    wait_for(answers, what="Flower to answer")


def test_a_public_port_without_authentication_is_refused(tmp_path):
    with running_web(tmp_path, PORT=str(free_port())) as process:
        assert process.wait(60) == 2
    said = (tmp_path / "web.log").read_text()
    assert "FLOWER_BASIC_AUTH=user:password" in said
    assert "Traceback" not in said


def test_a_port_that_is_none_is_refused_in_words(tmp_path):
    with running_web(tmp_path, PORT="abc", FLOWER_BASIC_AUTH=":".join(LOGIN)) as process:
        assert process.wait(60) == 2
    said = (tmp_path / "web.log").read_text()
    assert said == "PORT, or --port, must be a number from 1 to 65535\n"


def test_a_port_that_kubernetes_means_for_others_is_refused_by_name(tmp_path):
    with running_web(tmp_path, FLOWER_PORT="tcp://10.0.0.7:5555") as process:
        assert process.wait(60) == 2
    [said] = (tmp_path / "web.log").read_text().splitlines()
    assert said.startswith("FLOWER_PORT must be a number from 1 to 65535: ")
    assert "enableServiceLinks: false" in said


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "80.5", "²"])
def test_every_other_port_is_refused(port):
    with pytest.raises(NoPortError):
        flower_arguments(["--port", port] if port != "-1" else ["--port=-1"], {})


def test_a_public_flower_lets_in_who_knows_the_password_and_ends_on_sigterm(tmp_path, redis_url):
    port = free_port()
    login = {"FLOWER_BASIC_AUTH": ":".join(LOGIN)}
    with running_web(tmp_path, PORT=str(port), BROKER_URL=redis_url, **login) as process:
        for page in ("workers", "api/tasks"):
            address = f"http://127.0.0.1:{port}/{page}"
            up(process, tmp_path, address)
            assert status(address) == 401
            assert status(address, ("admin", "wrong")) == 401
            assert status(address, LOGIN) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ([], {}, ["--address=127.0.0.1", "--port=5555"]),
        (["--port", "7000"], {}, ["--address=127.0.0.1", "--port=7000"]),
        (["--address=::1"], {"PORT": "80"}, ["--address=::1", "--port=80"]),
        (["--max_tasks=9"], {}, ["--address=127.0.0.1", "--port=5555", "--max_tasks=9"]),
        ([], {"PORT": "80", "FLOWER_AUTH": "a@b.example"}, ["--address=0.0.0.0", "--port=80"]),
    ],
)
def test_the_address_is_loopback_unless_a_platform_gives_a_port(options, environ, expected):
    assert flower_arguments(options, environ) == expected


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "", "192.0.2.7", "flower.example"])
def test_every_address_but_loopback_needs_a_login(address):
    with pytest.raises(PublicWithoutAuthenticationError):
        flower_arguments([f"--address={address}"], {})


@pytest.mark.parametrize(
    "environ",
    [
        {"FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler"},
        *({"FLOWER_BASIC_AUTH": login} for login in (" ", "admin", "admin:", ":x", "a:b,admin:")),
    ],
)
def test_half_an_authentication_is_none(environ):
    """Flower lets everybody in when it has a provider but no FLOWER_AUTH."""
    with pytest.raises(PublicWithoutAuthenticationError):
        flower_arguments([], {"PORT": "80"} | environ)
