"""``python -m dingwire.simulator`` as people start it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import RawBot
from tests.servers import free_port

COMMAND = [sys.executable, "-m", "dingwire.simulator"]


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


async def test_it_prints_the_page_and_ends_quietly_on_sigterm_with_a_page_open():
    port = free_port()
    async with started("--port", str(port)) as process, aiohttp.ClientSession() as http:
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(3)]
        assert f"http://127.0.0.1:{port}/" in lines[1]
        assert f"DINGTALK_OPENAPI_ENDPOINT=http://127.0.0.1:{port}" in lines[2]
        async with (
            http.get(f"http://127.0.0.1:{port}/control/events") as feed,
            RawBot(f"http://127.0.0.1:{port}"),
        ):
            assert feed.status == 200
            process.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(process.wait(), 3)

        assert process.stderr is not None
        assert (status, await process.stderr.read()) == (0, b"")


async def test_a_taken_port_is_one_clear_line_and_exit_2():
    async with Simulator() as simulator, started("--port", str(simulator.port)) as process:
        status, out, err = await told(process)

    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "the port is taken" in err


async def test_half_a_pair_of_credentials_is_exit_2():
    async with started("--client-id", "only") as process:
        status, _, err = await told(process)

    assert status == 2
    assert "go together" in err


async def test_say_waits_for_a_bot_and_prints_its_reply():
    port = free_port()
    async with started("--port", str(port), "--say", "hello", "--group") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        async with RawBot(f"http://127.0.0.1:{port}") as bot:
            status, out, _ = await told(process)

    assert (status, out) == (0, "echo: hello\n")
    assert bot.messages[0]["conversationType"] == "2"


async def test_say_uses_the_simulator_that_already_runs():
    async with (
        Simulator() as simulator,
        RawBot(simulator.endpoint),
        started("--port", str(simulator.port), "--say", "hello") as process,
    ):
        status, out, _ = await told(process)

    assert (status, out) == (0, "echo: hello\n")
    assert [each.text for each in simulator.messages] == ["hello"]


async def test_say_sends_other_kinds_too():
    async with Simulator() as simulator, RawBot(simulator.endpoint) as bot:
        arguments = ("--port", str(simulator.port), "--say", "look", "--kind", "picture")
        async with started(*arguments) as process:
            status, out, _ = await told(process)

    assert (status, out) == (0, "echo: [picture]\n")
    assert "downloadCode" in bot.messages[0]["content"]


async def test_say_without_a_bot_is_exit_1_with_the_reason():
    async with started("--port", str(free_port()), "--say", "x", "--timeout", "0.1") as process:
        status, out, err = await told(process)

    assert (status, out) == (1, "")
    assert "a Stream client that connects" in err


async def test_say_to_a_silent_bot_is_exit_1_with_the_reason():
    async with Simulator() as simulator, RawBot(simulator.endpoint, reply=None):
        arguments = ("--port", str(simulator.port), "--say", "x", "--timeout", "0.3")
        async with started(*arguments) as process:
            status, out, err = await told(process)

    assert (status, out) == (1, "")
    assert "an answer" in err
