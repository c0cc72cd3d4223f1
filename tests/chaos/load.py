"""What people write while a fault is on: pairs of messages, close together, from many chats.

Every chat is either private or a group of two people. Two messages of one chat are as close as two
of different ones, and agents take longer than that, so that answers would overtake each other if
nothing kept them in order.
"""

import threading
from dataclasses import dataclass

from dingwire.simulator.records import Message
from tests.chaos.fault import Fault
from tests.chaos.scene import Scene, paced

__all__ = ["Load", "Size"]

EVERY_S = 0.04


@dataclass(frozen=True)
class Size:
    """How many messages, in how many chats."""

    messages: int = 300
    conversations: int = 30


class Load:
    """Sends a third before the fault, a third during it, and a third after it."""

    def __init__(self, scene: Scene, fault: Fault, size: Size) -> None:
        self._scene, self._fault, self._size = scene, fault, size
        self.said: dict[str, Message] = {}
        self.halfway, self._healed = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Start writing; :attr:`halfway` is set when the fault may begin."""
        self._thread.start()

    def go_on(self) -> None:
        """The fault is over: write the last third."""
        self._healed.set()

    def join(self, limit_s: float) -> None:
        """Wait until everything is written.

        Raises:
            TimeoutError: It is not, in time.
        """
        self._thread.join(limit_s)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError("the load was not written in time")

    def _run(self) -> None:
        try:
            third = self._size.messages // 3
            paced(EVERY_S, self._say, third, at_least_s=EVERY_S / 2)
            self.halfway.set()
            during_s = max(self._fault.lasts_s, third * EVERY_S)
            paced(during_s / third, self._say, third, at_least_s=EVERY_S / 2)
            self._healed.wait(self._fault.limit_s)
            paced(EVERY_S, self._say, self._size.messages - 2 * third, at_least_s=EVERY_S / 2)
        except Exception as error:  # noqa: BLE001, told by join, in the thread that waits
            self._error = error

    def _say(self, _: int) -> None:
        number = len(self.said)
        token = f"m{number:04}"
        at_a_time = self._fault.side_by_side
        block, position = divmod(number, 2 * at_a_time)
        chat = (block * at_a_time + position % at_a_time) % self._size.conversations
        is_group = chat % 2 == 1
        is_second = position >= at_a_time
        person = f"person{chat}" + ("b" if is_group and is_second else "")
        self.said[token] = self._scene.simulator.say(
            self._fault.text(token), person, f"team{chat}" if is_group else None
        )
