"""docs/included-agents.md: its servers run as they are typed, and its tables name what there is."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from contract.variables import AGENT_VARIABLES
from dingwire.replies import Reply, Text
from tests.servers import free_port, wait_for
from tests.unit.dingwire.local_server import running
from tests.unit.worker.answering_parts import envelope
from worker.agents.base import Message
from worker.agents.http import HttpAgent, HttpAgentSettings
from worker.agents.http.request import Request
from worker.agents.results import replies_of
from worker.agents.runner import AgentFailedError, AgentRunner

PAGE = (Path(__file__).parents[3] / "docs" / "included-agents.md").read_text(encoding="utf-8")
MESSAGE = Message.of(envelope(text="how are you", sender_nick="Anna"))
SECRET = "a secret that is long enough"
PATIENCE_S = 120.0


def example(name: str) -> str:
    """A file of the page, as it is typed."""
    mark = "//" if name.endswith("js") else "#"
    [found] = re.findall(rf"```\w+\n({mark} {re.escape(name)}\n.*?)```", PAGE, re.DOTALL)
    return str(found)


def answered(url: str, secret: str | None = SECRET) -> tuple[list[Any], list[Any]]:
    """What a server replies, and the pieces in which it came."""
    settings = HttpAgentSettings.load(first={"url": url, "secret": secret})
    pieces: list[Any] = []
    runner = AgentRunner(HttpAgent(settings), settings=settings)
    result = runner.run(MESSAGE, limit_s=PATIENCE_S, on_piece=pieces.append)
    return list(replies_of(result)), pieces


@contextmanager
def served(folder: Path, program: str, name: str) -> Iterator[str]:
    port = free_port()
    text = example(name)
    assert text.count("8000") == 1
    (folder / name).write_text(text.replace("8000", str(port)), encoding="utf-8")
    process = subprocess.Popen(
        [program, name], cwd=folder, env={**os.environ, "HTTP_AGENT_SECRET": SECRET},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or listens(port), what=f"{name} to listen")
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_server_in_python_answers(tmp_path):
    with served(tmp_path, sys.executable, "server.py") as url:
        replies, _ = answered(url)
    assert replies == [Text(content="Anna wrote: how are you")]


@pytest.fixture
def node() -> str:
    if shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run every test: node is not installed")
        pytest.skip("node is not installed; `make test` says how to get it")
    return "node"


def test_the_server_in_node_streams_to_who_signs_and_to_nobody_else(node, tmp_path):
    with served(tmp_path, node, "server.mjs") as url:
        replies, pieces = answered(url, f"{SECRET},a secret of long ago")
        with pytest.raises(AgentFailedError) as failed:
            answered(url, "another secret that is as long")
        with pytest.raises(AgentFailedError):
            answered(url, None)

    assert pieces == ["how ", "are ", "you "]
    assert replies == [Text(content="how are you ")]
    assert failed.value.detail == "answered 401"


def test_the_signature_is_verified_as_the_page_does_it():
    page: dict[str, Any] = {}
    exec(compile(example("verified.py"), "verified.py", "exec"), page)
    with running() as server:
        server.answers({"reply": None})
        answered(server.url)
    [seen] = server.seen

    def verified(body: bytes = seen.raw, secret: str = SECRET, **changed: str) -> bool:
        headers = seen.headers | {f"webhook-{name}": each for name, each in changed.items()}
        return bool(page["is_from_the_worker"](headers, body, secret.encode()))

    assert verified()
    assert not verified(body=seen.raw + b" ")
    assert not verified(secret="another")
    assert not verified(id="another")
    assert not verified(timestamp=str(int(time.time()) - 400))
    assert not verified(timestamp="²")
    assert not verified(signature="v1,x")
    assert not page["is_from_the_worker"]({}, seen.raw, SECRET.encode())


def test_the_body_on_the_page_has_every_member_and_no_other():
    [shown] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)

    def names(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: names(each) for name, each in value.items()}
        return [names(value[0])] if isinstance(value, list) and value else None

    body = json.loads(shown)
    assert names(Request.model_validate(body).model_dump(mode="json")) == names(body)


def test_every_kind_of_reply_is_named():
    kinds = {kind.model_fields["kind"].default for kind in get_args(Reply)}
    row = PAGE.split('"kind": "image"', 1)[1].split("\n", 1)[0]
    assert kinds <= set(re.findall(r"`(\w+)`", row))


def test_every_variable_of_the_agent_is_explained_and_known():
    names = {f"HTTP_AGENT_{name}".upper() for name in HttpAgentSettings.model_fields}
    assert names == {each for each in AGENT_VARIABLES if each.startswith("HTTP_AGENT_")}
    assert names == set(re.findall(r"^\| `(HTTP_AGENT_\w+)`", PAGE, re.MULTILINE))
