"""The load generator of ``make bench``: notes what a bot does, and gives no figure of a loss."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
import requests
from websockets.asyncio.client import connect

from bench.load import Load, LostError


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    with Load.running() as running:
        yield running


def register(load: Load, name: str) -> dict[str, str]:
    address = f"{load.endpoint}/v1.0/gateway/connections/open"
    answer: dict[str, str] = requests.post(address, json={"clientId": name}, timeout=60).json()
    return answer


@contextlib.contextmanager
def bot(load: Load, name: str, *, replies: int = 1, acks: bool = True) -> Iterator[None]:
    """Run a bot that posts so many replies to each message before it acknowledges it."""
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    opened = register(load, name)

    async def listen() -> None:
        async with connect(f"{opened['endpoint']}?ticket={opened['ticket']}") as socket:
            reading = asyncio.create_task(read(socket))
            await ended.wait()
            reading.cancel()

    async def read(socket) -> None:
        async for raw in socket:
            frame = json.loads(raw)
            data = json.loads(frame["data"])
            for _ in range(replies):
                await asyncio.to_thread(
                    requests.post,
                    data["sessionWebhook"],
                    json={"text": {"content": f"echo: {data['text']['content']}"}},
                    timeout=10,
                )
            if acks:
                ack = {"code": 200, "headers": {"messageId": frame["headers"]["messageId"]}}
                await socket.send(json.dumps(ack))

    running = threading.Thread(target=loop.run_until_complete, args=(listen(),))
    running.start()
    try:
        load.until_connected(name)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        running.join()
        loop.close()


def test_every_message_has_its_times(load):
    with bot(load, "one"):
        taken = load.give("one", 5, conversations=2, wants_replies=True)

    assert len(taken.acks_s) == len(taken.replies_s) == 5
    # It replies first.
    pairs = zip(taken.replies_s, taken.acks_s, strict=True)
    assert all(0 < reply <= ack for reply, ack in pairs)
    assert taken.took_s >= max(taken.acks_s)
    assert taken.replied_in_s <= taken.took_s
    assert taken.doubled == 0


def test_a_reply_too_many_is_counted(load):
    with bot(load, "two", replies=2):
        taken = load.give("two", 3, conversations=3, wants_replies=True)

    assert taken.doubled == 3


def test_what_is_not_acknowledged_gives_no_figure(load):
    with bot(load, "three", acks=False), pytest.raises(LostError, match="three: of 2"):
        load.give("three", 2, conversations=1, wants_replies=True, limit_s=0.5)


def test_who_registers_can_be_made_to_wait(load):
    load.hold_registrations(is_held=True)
    thread = threading.Thread(target=register, args=(load, "held"))
    thread.start()
    load.until_registering()
    assert "held" not in load.state()["registered"]

    load.hold_registrations(is_held=False)
    thread.join()

    assert load.state()["registered"]["held"] == 1
