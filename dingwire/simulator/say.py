"""``--say``: one message to the bot from the command line, and its answer.

``__main__`` calls it. A simulator that already listens on the port is used through its control
API; otherwise one is started for the occasion.
"""

import asyncio
import sys
import time
from typing import Any

import aiohttp

from dingwire.simulator.server import Simulator, WaitedTooLongError

__all__ = ["say_once"]

POLL_S = 0.1
PROBE_LIMIT_S = 2.0


async def say_once(
    simulator: Simulator, text: str, *, kind: str = "text", is_group: bool, timeout_s: float
) -> int:
    """Say it, print the reply on stdout.

    Args:
        simulator: Not started; its port says where to look for a running one.
        text: What the person writes.
        kind: The wire's ``msgtype``; a picture and the like are small samples.
        is_group: Whether to write in the group rather than in private.
        timeout_s: For the bot to connect and to answer, together.

    Returns:
        The exit status: 0, or 1 after the reason was printed on stderr.

    Raises:
        OSError: If something that is no simulator listens on the port.
    """
    said = {"text": text, "kind": kind, "group": is_group or None}
    try:
        if simulator.port and await _is_running(simulator.endpoint):
            reply = await _through_control(simulator.endpoint, said, timeout_s)
        else:
            async with simulator:
                reply = await _here(simulator, said, timeout_s)
    except (WaitedTooLongError, aiohttp.ClientError) as failed:
        sys.stderr.write(f"no answer: {failed}\n")
        return 1
    sys.stdout.write(reply + "\n")
    return 0


async def _here(simulator: Simulator, said: dict[str, Any], timeout_s: float) -> str:
    end = time.monotonic() + timeout_s
    sys.stderr.write(f"waiting for a Stream client on {simulator.endpoint}\n")
    await simulator.until(
        lambda it: it.live_connections, timeout_s, "a Stream client that connects"
    )
    message = await simulator.say(**said)
    if message.state == "lost":
        raise WaitedTooLongError("no connection subscribed to bot messages")
    return await simulator.until_answered(message, max(0.0, end - time.monotonic()))


async def _through_control(endpoint: str, said: dict[str, Any], timeout_s: float) -> str:
    end = time.monotonic() + timeout_s
    limit = aiohttp.ClientTimeout(total=timeout_s + PROBE_LIMIT_S)
    async with aiohttp.ClientSession(endpoint, timeout=limit) as session:
        while not (await _get_state(session))["connections"]:
            if time.monotonic() > end:
                raise WaitedTooLongError(f"waited {timeout_s} s for a Stream client that connects")
            await asyncio.sleep(POLL_S)
        order = {**said, "wait": True, "timeout_s": max(0.0, end - time.monotonic())}
        async with session.post("/control/say", json=order) as response:
            answer: dict[str, Any] = await response.json()
    if answer.get("reply") is None:
        raise WaitedTooLongError(str(answer.get("error", "the simulator gave none")))
    return str(answer["reply"])


async def _is_running(endpoint: str) -> bool:
    limit = aiohttp.ClientTimeout(total=PROBE_LIMIT_S)
    try:
        async with aiohttp.ClientSession(endpoint, timeout=limit) as session:
            return (await _get_state(session)).get("simulator") == "dingtalk"
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


async def _get_state(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get("/control/state") as response:
        state: dict[str, Any] = await response.json()
        return state
