"""The load of a measurement: starts ``bench/dingtalk.py``, and reads what it has noted."""

import itertools
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests.processes import ROOT
from tests.servers import free_port, wait_for

__all__ = ["Load", "Taken", "percentile"]


def percentile(values_s: list[float], percent: int) -> float:
    """Return the percentile of at least two values."""
    return statistics.quantiles(values_s, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True)
class Taken:
    """How a load was taken. Seconds, in the order of the pushes."""

    acks_s: list[float]
    replies_s: list[float]
    took_s: float  # from the first push to the last ack
    replied_in_s: float  # from the first push to the last reply
    replied_at_s: list[float]  # each, from the first push on
    doubled: int


class LostError(Exception):
    """A message of the load was not acknowledged or not replied to; no figure is worth that."""


class Load:
    """A DingTalk under our hand."""

    def __init__(self, host: str) -> None:
        """Speak to the one at ``host``."""
        self.host, self.endpoint = host, f"http://{host}"
        self._names = itertools.count(1)
        self._session = requests.Session()

    @classmethod
    @contextmanager
    def running(cls) -> "Iterator[Load]":
        """Start one, and stop it in the end."""
        port = free_port()
        process = subprocess.Popen([sys.executable, "-m", "bench.dingtalk", str(port)], cwd=ROOT)
        try:
            load = cls(f"127.0.0.1:{port}")
            wait_for(load._is_up, what="the load generator")
            yield load
        finally:
            process.terminate()
            process.wait(10)

    def _is_up(self) -> bool:
        try:
            return self._session.get(f"{self.endpoint}/state", timeout=1).ok
        except requests.ConnectionError:
            return False

    def state(self) -> dict[str, Any]:
        """Return who has registered, and who is connected."""
        found: dict[str, Any] = self._session.get(f"{self.endpoint}/state", timeout=10).json()
        return found

    def until_connected(self, bot: str) -> None:
        wait_for(lambda: bot in self.state()["connected"], what=f"{bot} to connect")

    def hold_registrations(self, *, is_held: bool) -> None:
        """Leave who registers without an answer, until told otherwise."""
        self._session.post(f"{self.endpoint}/hold", json={"hold": is_held}, timeout=10)

    def until_registering(self) -> None:
        """Wait until somebody is left without one."""
        wait_for(lambda: self.state()["held"], what="a request to register")

    def give(
        self,
        bot: str,
        count: int,
        *,
        conversations: int,
        per_s: float | None = None,
        wants_replies: bool,
        text: str = "how much is left of the budget of this quarter?",
        webhook: str = "",
        limit_s: float = 120,
    ) -> Taken:
        """Push messages, and wait for their acks, and for their replies if told to.

        Args:
            bot: Client id of the one that gets them.
            count: How many.
            conversations: In how many private chats; other ones each time.
            per_s: How fast; None is a burst, as fast as the socket takes them.
            wants_replies: Whether it is over with the last reply, or with the last ack.
            text: What stands in each, behind its number.
            webhook: Address that replies go to instead of the generator's.
            limit_s: For all together.

        Raises:
            LostError: Not all of them came back in time.
        """
        asked = {
            "bot": bot, "count": count, "conversations": conversations, "per_s": per_s,
            "wants_replies": wants_replies, "text": text, "webhook": webhook, "limit_s": limit_s,
            "name": f"{bot}-{next(self._names)}",
        }  # fmt: skip
        answer = self._session.post(f"{self.endpoint}/load", json=asked, timeout=limit_s + 60)
        answer.raise_for_status()
        found = answer.json()
        pushed, acked, replied = found["pushed"], found["acked"], found["replied"]
        missing = acked.count(0), wants_replies and replied.count(0)
        if any(missing) or found["refused"]:
            raise LostError(
                f"{bot}: of {count}, without ack and reply: {missing}, {found['refused']} refused"
            )
        return Taken(
            acks_s=[at - since for at, since in zip(acked, pushed, strict=True)],
            replies_s=[at - since for at, since in zip(replied, pushed, strict=True)],
            took_s=max(acked) - pushed[0],
            replied_in_s=max(replied) - pushed[0],
            replied_at_s=[at - pushed[0] for at in replied],
            doubled=found["doubled"],
        )
