"""An event loop that waits, and what no socket tells it of."""

import os
import signal
import threading

import pytest
from kombu.asynchronous import Hub

from worker.running.waking import Waking


@pytest.fixture
def hub(monkeypatch):
    """An event loop that looks up once an hour by itself."""
    hub = Hub()
    monkeypatch.setattr(hub, "fire_timers", lambda **_: 3600)
    hub.call_later(3600, lambda: None)
    woken_by = signal.set_wakeup_fd(-1)
    yield hub
    signal.set_wakeup_fd(woken_by)
    hub.close()


def test_what_another_thread_hands_over_ends_the_wait(hub):
    waking, count = Waking(), 0
    waking.register(hub)

    def hand_over() -> None:
        hub.call_soon(take)
        waking.wake()

    def take() -> None:
        nonlocal count
        count += 1
        if count == 20:
            hub.stop()
            waking.wake()
        else:
            threading.Timer(0.01, hand_over).start()

    hand_over()
    hub.run_forever()

    assert count == 20


def test_a_signal_ends_the_wait(hub):
    """Python calls the handler at once, and goes on waiting."""
    told = list[int]()
    before = signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    Waking().register(hub)
    loop = hub.create_loop()
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        next(loop)
        while not told:
            next(loop)
    finally:
        signal.signal(signal.SIGUSR1, before)
