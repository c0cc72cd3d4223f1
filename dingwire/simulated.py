"""Drives a simulated DingTalk by its control API: somebody writes, and what the bot does is read.

For ``celery -A worker chat --through``. docs/simulator.md describes the API.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from dingwire.http import explained, new_session

__all__ = ["NotSimulatedError", "SimulatedChat", "Written", "kind_of"]

_TIMEOUT_S = (5.0, 30.0)
_WITH_FILE = {
    "picture": {"bmp", "gif", "jpeg", "jpg", "png"},
    "audio": {"amr", "mp3", "ogg", "wav"},
    "video": {"mp4"},
}


class NotSimulatedError(Exception):
    """What answers there is no simulated DingTalk, or has gone; safe to show."""


@dataclass(frozen=True)
class Written:
    """A message that somebody wrote; ``is_lost`` when no bot was connected."""

    message_id: str
    conversation_id: str
    at_ms: int
    is_lost: bool


class SimulatedChat:
    """One person's conversation with the bot."""

    def __init__(
        self, endpoint: str, *, person: str, is_group: bool, to: str | None = None
    ) -> None:
        """Prepare; nothing is connected to.

        Args:
            endpoint: Of the simulator.
            person: Who writes; their staff id.
            is_group: In the group, or in private.
            to: A bot's client id, where there are several.
        """
        self._endpoint, self._to = endpoint, to
        self._person, self._is_group = person, is_group
        self._session = new_session("celery-dingtalk")
        self._seen = {"replies": 0, "proactive": 0}

    def check(self) -> None:
        """See whether it is there.

        Raises:
            NotSimulatedError: It is not.
        """
        if self._call("GET", "state").get("simulator") != "dingtalk":
            raise NotSimulatedError("what answers there is no simulated DingTalk")

    def say(self, text: str, files: Sequence[Path] = ()) -> Written:
        """Write a message.

        Raises:
            NotSimulatedError: It has gone, or refuses the message.
            OSError: A file cannot be read.
            ValueError: DingTalk lets nobody send that together.
        """
        order: dict[str, Any] = {"text": text, "person": self._person}
        if self._is_group:
            order["group"] = True
        if self._to:
            order["to"] = self._to
        if files:
            order["files"] = [_file(path) for path in files]
            order["kind"] = kind_of(text, files)
        message = self._call("POST", "say", order)["message"]
        return Written(
            message_id=str(message["message_id"]),
            conversation_id=str(message["conversation_id"]),
            at_ms=int(message["created_at_ms"]),
            is_lost=message["state"] == "lost",
        )

    def news(self, since: Written) -> Iterator[tuple[str, str]]:
        """Yield the kind and text of each message of the bot that was not yielded before.

        Args:
            since: What came before it is left out.

        Raises:
            NotSimulatedError: It has gone.
        """
        found = []
        for kind in self._seen:
            found += [each for each in self._records(kind, since) if each["accepted"]]
        for each in sorted(found, key=lambda record: record["at_ms"]):
            if each["at_ms"] >= since.at_ms:
                yield _kind_in(each["body"]), str(each["text"])

    def cards(self, since: Written) -> dict[str, str]:
        """Return what stands on the cards that came after ``since``, by their names.

        Raises:
            NotSimulatedError: It has gone.
        """
        path = "records?kind=cards"
        cards = self._call("GET", path, query={"conversation": since.conversation_id})["cards"]
        return {
            str(each["out_track_id"]): str(each["text"])
            for each in cards
            if each["created_at_ms"] >= since.at_ms
        }

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _records(self, kind: str, since: Written) -> list[dict[str, Any]]:
        query = {"conversation": since.conversation_id, "since": str(self._seen[kind])}
        answer = self._call("GET", f"records?kind={kind}", query=query)
        self._seen[kind] = int(answer["total"])
        return list(answer[kind])

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            with self._session.request(
                method,
                f"{self._endpoint}/control/{path}",
                json=body,
                params=query,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            ) as response:
                answer = response.json()
        except requests.JSONDecodeError:
            raise NotSimulatedError("what answers there is no simulated DingTalk") from None
        except (requests.RequestException, OSError) as error:
            raise NotSimulatedError(explained(error).reason) from None
        if not isinstance(answer, dict) or response.status_code != requests.codes.ok:
            refusal = answer.get("error") if isinstance(answer, dict) else None
            raise NotSimulatedError(str(refusal or "what answers there is no simulated DingTalk"))
        return answer


def kind_of(text: str, files: Sequence[Path]) -> str:
    """Return what DingTalk calls a message of words and files.

    Raises:
        ValueError: It lets nobody send that together.
    """
    kinds = {_kind(path) for path in files}
    if len(files) == 1 and (not text or kinds == {"audio"}):
        return kinds.pop()
    if kinds - {"picture"}:
        raise ValueError("in DingTalk only pictures come several at once, or with words")
    return "richText" if files else "text"


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "base64": base64.b64encode(path.read_bytes()).decode()}


def _kind(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    return next((kind for kind, endings in _WITH_FILE.items() if ending in endings), "file")


def _kind_in(body: Any) -> str:
    """Return what DingTalk calls a message of the bot."""
    if not isinstance(body, dict):
        return "message"
    return str(body.get("msgtype") or body.get("msgKey") or "message")
