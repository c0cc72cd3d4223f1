"""One cell from its start to its judgement."""

import re
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from dingwire.simulator.records import Reply
from tests.chaos.cells import Cell
from tests.chaos.evidence import evidence
from tests.chaos.fault import Fault
from tests.chaos.judging import Answer, History, Judgement, Sent, judge
from tests.chaos.load import Load, Size
from tests.chaos.scene import Scene, SharedServers, set_scene

__all__ = ["Result", "run_cell"]

TOKEN = re.compile(r"\bm\d{4}\b")
ENDS = ("reply_posted", "reply_dropped", "reply_rescued", "reply_cancelled")
MISSES = ("reply_flagged", "reply_failed")
OK = 200


@dataclass(frozen=True)
class Result:
    """What a cell came to; ``judgement`` is None when it broke down."""

    cell: Cell
    judgement: Judgement | None
    complaints: tuple[str, ...]
    took_s: float
    evidence: str = ""

    @property
    def is_good(self) -> bool:
        return self.judgement is not None and self.judgement.is_good and not self.complaints

    @property
    def verdict(self) -> str:
        """``ok``, or what went wrong in one line."""
        if self.is_good:
            return "ok"
        broken = self.judgement.broken if self.judgement else ()
        return "FAIL: " + "; ".join((*broken, *self.complaints))


def run_cell(cell: Cell, folder: Path, shared: SharedServers, size: Size) -> Result:
    """Run a cell in ``folder``; never raises, a breakdown is a result."""
    started = time.monotonic()
    fault = cell.fault()
    folder.mkdir(parents=True)
    try:
        fault.prepare()
        try:
            with set_scene(cell.broker, fault, folder, shared) as scene:
                return _play(cell, fault, scene, size, started)
        finally:
            fault.clean_up()
    except Exception as error:  # noqa: BLE001, one broken cell must not end the others
        shown = f"{type(error).__name__}: {str(error)[:200]}"
        took_s = time.monotonic() - started
        return Result(cell, None, (shown,), took_s, traceback.format_exc())


def _play(cell: Cell, fault: Fault, scene: Scene, size: Size, started: float) -> Result:
    give_up_at = started + fault.limit_s
    load = Load(scene, fault, size)
    load.start()
    if not load.halfway.wait(120):
        load.join(0)
    struck_s, struck_at = time.time(), time.monotonic()
    fault.strike(scene)
    time.sleep(max(0.0, struck_at + fault.lasts_s - time.monotonic()))
    fault.heal(scene)
    scene.over()
    ended_s = struck_s if fault.ends_at_once else scene.over_s or struck_s
    back_s = scene.listening_since(struck_s) if fault.cuts_socket else 0.0
    load.go_on()
    load.join(120)
    for name, process in scene.deployment.processes.items():
        if not process.is_running:
            scene.complain(f"{name} ended by itself")
    if not _until_settled(scene, load, fault, give_up_at):
        is_cut_short = scene.interrupted.is_set()
        scene.complain(
            "interrupted" if is_cut_short else f"not all answered within {fault.limit_s:g} s"
        )
    history = _history(scene, load, ended_s, back_s)
    judgement = judge(history, fault.allowed)
    result = Result(cell, judgement, tuple(scene.complaints), time.monotonic() - started)
    if result.is_good:
        return result
    return Result(
        cell, judgement, result.complaints, result.took_s, evidence(scene, judgement.suspects)
    )


def _until_settled(scene: Scene, load: Load, fault: Fault, give_up_at: float) -> bool:
    """Wait until every message has come to its end and no second answer can follow.

    Every story has an end in the logs. One whose worker was killed in the moment between has not,
    so a time without any news will do, once everything is accounted for.
    """
    last_news, seen, accounted = time.monotonic(), (0, 0), False
    while time.monotonic() < give_up_at:
        acked = _acked(scene)
        answered = {t for r in scene.simulator.accepted for t in TOKEN.findall(r.text)}
        ended = _logged(scene, ENDS)
        missed = _logged(scene, MISSES)
        news = (len(scene.simulator.replies), len(ended | missed))
        if news != seen:
            last_news, seen = time.monotonic(), news
        ids = {m.message_id for t, m in load.said.items() if t in answered}
        accounted = acked <= ids | missed
        quiet_s = time.monotonic() - last_news
        if accounted and (quiet_s > fault.quiet_s or (acked <= ended | missed and quiet_s > 1.5)):
            return True
        if scene.interrupted.wait(0.5):
            break
    return accounted


def _acked(scene: Scene) -> set[str]:
    acks = scene.simulator.message_acks
    return {a.message_id for a in acks if a.code == OK and a.message_id is not None}


def _logged(scene: Scene, actions: tuple[str, ...]) -> set[str]:
    return {
        str(line["message_id"])
        for _, line in scene.log_lines()
        if line.get("action") in actions and "message_id" in line
    }


def _history(scene: Scene, load: Load, ended_s: float, back_s: float) -> History:
    sent = [Sent(token, m.message_id, m.conversation_id) for token, m in load.said.items()]
    answers = [_answer(reply) for reply in scene.simulator.accepted]
    answered = {token for answer in answers for token in answer.tokens}
    ids = {s.message_id for s in sent if s.token in answered}
    acks = scene.simulator.message_acks
    early = {a.message_id for a in acks if a.code == OK and a.at_ms < ended_s * 1000}
    return History(
        sent=sent,
        answers=answers,
        acked=_acked(scene),
        missed=scene.missed() | (_logged(scene, MISSES) & ids),
        ended_s=ended_s,
        back_s=back_s,
        before_end={s.token for s in sent if s.message_id in early},
    )


def _answer(reply: Reply) -> Answer:
    tokens = tuple(dict.fromkeys(TOKEN.findall(reply.text)))
    return Answer(tokens, reply.conversation_id or "", reply.at_ms / 1000)
