"""What the logs say about a cell that failed: warnings by kind, and the story of some messages."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.chaos.judging import Sent
from tests.chaos.scene import Scene

__all__ = ["evidence"]

MESSAGES = 6
PLAIN_LINES = 20
_SHOWN = ("action", "outcome", "reason", "detail", "errcode", "attempts", "retry_in_s", "delay_s")


def evidence(scene: Scene, suspects: Sequence[Sent]) -> str:
    """Return it as text; nothing in it is private, as these logs hold nothing private."""
    lines = list(scene.log_lines())
    parts = ["warnings and errors:", *_warnings(lines)]
    plain = [
        f"  {name}: {line['message']}"
        for name, line in lines
        if line.get("is_plain") and ("Error" in line["message"] or "Traceback" in line["message"])
    ]
    parts += ["other output:", *plain[-PLAIN_LINES:]]
    for sent in suspects[:MESSAGES]:
        parts.append(f"{sent.token} {sent.message_id} in {sent.conversation_id}:")
        parts += _story(lines, sent.message_id)
        posts = [r for r in scene.simulator.replies if sent.token in r.text]
        parts += [
            f"  post at {r.at_ms / 1000:.3f}: status {r.status} errcode {r.errcode} "
            f"{'accepted' if r.accepted else 'not accepted'}"
            for r in posts
        ]
        acks = [a for a in scene.simulator.message_acks if a.message_id == sent.message_id]
        parts += [f"  ack at {a.at_ms / 1000:.3f}: {a.code}" for a in acks]
    return "\n".join(parts)


def _warnings(lines: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    kinds = Counter(
        f"{name} {line['level']} {' '.join(line.get('message', '').split())[:160]} {_facts(line)}"
        for name, line in lines
        if line.get("level") in ("WARNING", "ERROR", "CRITICAL")
    )
    return [f"  {count} x {kind}" for kind, count in kinds.most_common(30)]


def _story(lines: Sequence[tuple[str, dict[str, Any]]], message_id: str) -> list[str]:
    own = [(line.get("time", ""), name, line) for name, line in lines]
    about = [each for each in own if each[2].get("message_id") == message_id]
    about.sort(key=lambda each: each[0])
    return [f"  {at} {name}: {line['message']} {_facts(line)}" for at, name, line in about]


def _facts(line: dict[str, Any]) -> str:
    return " ".join(f"{key}={str(line[key])[:80]}" for key in _SHOWN if line.get(key) is not None)
