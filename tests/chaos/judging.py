"""What became of every message of a cell: counted, and held against what the fault may cost.

Pure. ``run.py`` writes the history down while a cell runs; ``tests/unit/test_chaos_judging.py``
shows that made-up losses, doubles and disorder are found.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

__all__ = ["Allowed", "Answer", "History", "Judgement", "Sent", "judge"]


@dataclass(frozen=True)
class Sent:
    """One message a person wrote; ``token`` is in its text alone."""

    token: str
    message_id: str
    conversation_id: str


@dataclass(frozen=True)
class Answer:
    """One reply that reached a chat, with the tokens of the messages it answers."""

    tokens: tuple[str, ...]
    conversation_id: str
    at_s: float


@dataclass(frozen=True)
class History:
    """A cell as it was seen from outside.

    Attributes:
        sent: In the order people wrote.
        answers: In the order they arrived in the chats.
        acked: Ids of the messages the listener acknowledged with 200.
        missed: Ids that ``celery -A worker late`` shows, or has shown before they were handed over.
        ended_s: When the fault was over, on the clock of the answers.
        back_s: When there was a connection again that hears; 0 when it was not cut.
        before_end: Tokens of the messages that were acknowledged before it was over.
    """

    sent: Sequence[Sent]
    answers: Sequence[Answer]
    acked: Collection[str]
    missed: Collection[str] = ()
    ended_s: float = 0.0
    back_s: float = 0.0
    before_end: Collection[str] = ()


@dataclass(frozen=True)
class Allowed:
    """What a fault may cost; nothing by default.

    ``doubled`` counts answers beyond a message's first. ``never_acked`` is None where messages may
    be pushed to a socket that is dead, or while nobody is connected: DingTalk loses them.
    ``recovery_s`` is in seconds: generous for a busy machine, and far below a minute, so that
    nothing that waits for somebody's time limit passes for recovery.
    """

    doubled: int = 0
    missed: int = 0
    never_acked: int | None = 0
    recovery_s: float = 45.0


@dataclass(frozen=True)
class Judgement:
    """The numbers of one cell, and in ``broken`` what was promised and not kept."""

    sent: int
    answered_once: int
    doubled: int
    lost: int
    out_of_order: int
    missed: int
    never_acked: int
    astray: int
    recovery_s: float
    broken: tuple[str, ...]
    suspects: tuple[Sent, ...] = field(default=(), repr=False)

    @property
    def is_good(self) -> bool:
        return not self.broken


def judge(history: History, allowed: Allowed) -> Judgement:
    """Count what became of the messages, and compare it with what is allowed."""
    home = {s.token: s.conversation_id for s in history.sent}
    copies = Counter(
        token for a in history.answers for token in a.tokens if home.get(token) == a.conversation_id
    )
    astray = sum(
        home.get(token) != a.conversation_id for a in history.answers for token in a.tokens or ("",)
    )
    unanswered = [s for s in history.sent if not copies[s.token]]
    missed = [s for s in unanswered if s.message_id in history.missed]
    nowhere = [s for s in unanswered if s.message_id not in history.missed]
    lost = [s for s in nowhere if s.message_id in history.acked]
    disordered = _disordered(history)
    doubled = [s for s in history.sent if copies[s.token] > 1]
    counts = {
        "lost": (len(lost), 0),
        "out of order": (len(disordered), 0),
        "answered elsewhere": (astray, 0),
        "doubled": (sum(copies[s.token] - 1 for s in doubled), allowed.doubled),
        "missed": (len(missed), allowed.missed),
        "never acked": (len(nowhere) - len(lost), allowed.never_acked),
    }
    broken = [
        f"{count} {what}" + (f", {most} allowed" if most else "")
        for what, (count, most) in counts.items()
        if most is not None and count > most
    ]
    recovery_s = _recovery_s(history)
    if recovery_s > allowed.recovery_s:
        broken.append(f"{recovery_s:g} s to recover, {allowed.recovery_s:g} allowed")
    return Judgement(
        sent=len(history.sent),
        answered_once=sum(copies[s.token] == 1 for s in history.sent),
        doubled=counts["doubled"][0],
        lost=len(lost),
        out_of_order=len(disordered),
        missed=len(missed),
        never_acked=counts["never acked"][0],
        astray=astray,
        recovery_s=recovery_s,
        broken=tuple(broken),
        suspects=(*lost, *disordered, *doubled, *missed),
    )


def _first_at(history: History) -> dict[str, tuple[int, float]]:
    """Return position and time of each token's first answer in its own chat."""
    home = {s.token: s.conversation_id for s in history.sent}
    first: dict[str, tuple[int, float]] = {}
    for position, answer in enumerate(history.answers):
        for token in answer.tokens:
            if home.get(token) == answer.conversation_id:
                first.setdefault(token, (position, answer.at_s))
    return first


def _disordered(history: History) -> list[Sent]:
    """Return the messages that were answered after one that was written later.

    Not those that were missed at first: their answers are handed over when the chance comes.
    """
    first = _first_at(history)
    found: list[Sent] = []
    earliest_later: dict[str, int] = {}
    for sent in reversed(history.sent):
        if sent.token not in first or sent.message_id in history.missed:
            continue
        position, _ = first[sent.token]
        later = earliest_later.get(sent.conversation_id)
        if later is not None and position > later:
            found.append(sent)
        earliest_later[sent.conversation_id] = min(
            position, later if later is not None else position
        )
    return found[::-1]


def _recovery_s(history: History) -> float:
    first = _first_at(history)
    times = [first[token][1] for token in history.before_end if token in first]
    return round(max(history.ended_s, history.back_s, *times) - history.ended_s, 1)
