"""However many connections want a ticket, DingTalk is asked politely."""

import asyncio
import time

import pytest

from dingwire.errors import CredentialsRefusedError, GatewayUnavailableError
from dingwire.gateway import Registration
from listener.gate import SPACING_S, Gate


class Desk:
    """A registration that fails as it is told to, and notes when it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked_at: list[float] = []

    def __call__(self) -> Registration:
        self.asked_at.append(time.monotonic())
        if self.error is not None:
            raise self.error
        return Registration("wss://here.example/connect", "ticket")


async def test_tickets_are_asked_for_one_after_the_other():
    desk = Desk()
    gate = Gate(desk)

    await asyncio.gather(*(gate.register() for _ in range(4)))

    apart = [b - a for a, b in zip(desk.asked_at, desk.asked_at[1:], strict=False)]
    assert min(apart) >= SPACING_S * 0.9


@pytest.mark.parametrize(
    "error",
    [
        GatewayUnavailableError("HTTP 503 without JSON", retry_after_s=30),
        GatewayUnavailableError("HTTP 429", retry_after_s=100_000),
        CredentialsRefusedError(),
    ],
    ids=["503", "429 with a wait beyond reason", "401"],
)
async def test_a_no_to_one_is_a_no_to_all(error):
    """With eight connections DingTalk would else be asked eight times a minute."""
    desk = Desk(error)
    gate = Gate(desk)
    asking = [asyncio.create_task(gate.register()) for _ in range(3)]

    done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    _, waiting = await asyncio.wait(waiting, timeout=3 * SPACING_S)
    for task in waiting:
        task.cancel()

    assert [type(task.exception()) for task in done] == [type(error)]
    assert len(waiting) == 2
    assert len(desk.asked_at) == 1
    assert 30 <= gate.delay_after(error) <= 600


async def test_an_outage_without_a_word_holds_nobody_up():
    """A connection that DingTalk recycles must not wait for what another one met."""
    desk = Desk(GatewayUnavailableError("HTTP 503 without JSON"))
    gate = Gate(desk)
    with pytest.raises(GatewayUnavailableError):
        await gate.register()
    desk.error = None

    async with asyncio.timeout(30):
        await gate.register()


async def test_the_gate_opens_again_after_the_wait():
    desk = Desk(GatewayUnavailableError("HTTP 503 without JSON", retry_after_s=1))
    gate = Gate(desk)
    with pytest.raises(GatewayUnavailableError):
        await gate.register()
    desk.error = None

    await gate.register()

    assert desk.asked_at[1] - desk.asked_at[0] >= 1
