"""Who is there: workers and listeners, by what they say of themselves in the store.

A listener's reports are recorded by workers, so without a worker nothing is known of listeners.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field

from contract.checks import Check
from contract.report import ListenerStatus, ReportError
from contract.settings import CommaSeparated, Settings, SettingsError
from contract.settings_checks import EVERYBODY, check_allowed_users
from worker.presence import KIND, are_reports_held_up
from worker.reports import LISTENER
from worker.settings import WorkerSettings
from worker.store import Note, Store, StoreError

__all__ = ["PROCESSES", "Notes", "check_processes"]

# The names of what :func:`check_processes` yields, in its order.
PROCESSES = ("workers", "listeners", "allowed users", "group messages", "sealing")

# DingTalk pings every half minute or so, and pings count.
SILENT_S = 120
# Listeners report every quarter of a minute, and once more when they stop.
STALE_S = 45
# Workers say every 10 s that they are there.
OLD_S, OVERDUE_S = 15, 20
# By so much a report's age may be off, and the listener's clock is not said to be; what DingTalk
# says of that clock is measured to a second or so, and a report waits a moment.
CLOCK_S, EXPLAINED_S = 30, 5


@dataclass(frozen=True)
class Listener:
    """A listener's last report.

    ``age_s`` is as of now by the store's clock, ``late_s`` how old the report was when a worker
    read it, by the worker's clock and the listener's.
    """

    status: ListenerStatus
    age_s: float
    late_s: float = 0.0

    @property
    def frame_age_s(self) -> float | None:
        """How long ago its last frame came."""
        age_s = self.status.last_frame_age_s
        return None if age_s is None else age_s + self.age_s

    @property
    def is_heard(self) -> bool:
        """Whether it runs, as far as its reports say."""
        return not self.status.stopped and self.age_s < STALE_S


@dataclass(frozen=True)
class Notes:
    """What processes say of themselves."""

    workers: tuple[Note, ...] = ()
    listeners: tuple[Listener, ...] = ()

    @classmethod
    def read(cls, store: Store) -> Self | None:
        """Read them; None when the store cannot say."""
        try:
            workers, listeners = store.remembered(KIND), store.remembered(LISTENER)
        except StoreError:
            return None
        return cls(tuple(workers), tuple(_listeners(listeners)))


class _WhoIsAllowed(Settings):
    """The one setting of the listener's that tells who is answered."""

    allowed_users: CommaSeparated = Field(validation_alias="DINGTALK_ALLOWED_USERS", default=())


def check_processes(
    settings: WorkerSettings,
    notes: Notes | None,
    reports_waiting: Callable[[], int | None] = lambda: None,
) -> Iterator[Check]:
    """Yield the checks of :data:`PROCESSES`.

    Args:
        settings: Our own.
        notes: None when nobody can be asked.
        reports_waiting: Asks the broker how much waits on the queue ``events``; None: not known.
    """
    if notes is None:
        for name in PROCESSES:
            is_own = name == "allowed users"
            yield _allowed(settings, []) if is_own else Check.skip(name, "the store cannot be read")
        return
    heard = [listener for listener in notes.listeners if listener.is_heard]
    yield _workers(settings, notes.workers)
    held_up = "" if heard else _held_up(notes, reports_waiting())
    yield _listening(notes, heard, held_up)
    yield _allowed(settings, heard)
    yield _groups(heard, held_up)
    yield _sealing(settings, notes.workers, heard)


def _listeners(notes: Sequence[Note]) -> Iterator[Listener]:
    for note in notes:
        try:
            status = ListenerStatus.from_wire(note.facts)
            yield Listener(status, note.age_s, note.facts.get("age_s", 0.0))
        except ReportError:  # of a later release
            continue


def _workers(settings: WorkerSettings, workers: Sequence[Note]) -> Check:
    name = "workers"
    if not workers:
        return Check.fail(
            name, "none has reported within the last minute", "celery -A worker worker"
        )
    shown = ", ".join(map(_in_words, workers))
    if differences := _differences([note.facts for note in workers], _own(settings)):
        return Check.warn(
            name,
            f"{shown}; they do not have the same settings: {', '.join(differences)}",
            "give all processes the same variables, this one too",
        )
    if len({note.facts.get("release") for note in workers}) > 1:
        return Check.warn(name, f"{shown}; they are of several releases", "end the rolling deploy")
    if overdue := [note.key for note in workers if note.age_s > OVERDUE_S]:
        return Check.warn(
            name,
            f"{shown}; a worker says so every 10 s: {', '.join(overdue)} may be dead",
            "look whether it runs; others take over what it had",
        )
    return Check.ok(name, shown)


def _in_words(worker: Note) -> str:
    facts = worker.facts
    words = f"{worker.key} ({facts.get('pool', '?')}, {facts.get('concurrency', '?')} at once"
    return words + (f", said so {worker.age_s:.0f} s ago)" if worker.age_s > OLD_S else ")")


def _own(settings: WorkerSettings) -> dict[str, Any]:
    """Return what a worker with our settings would say (``worker/presence.py``)."""
    return {
        "agent": settings.agent,
        "card_action_handler": settings.card_action_handler,
        "event_handler": settings.event_handler,
        "agent_timeout_s": settings.agent_timeout_s,
        "late_policy": settings.late_policy,
        "lease_s": settings.lease_s,
        "order": settings.order.value,
    }


def _differences(facts: Sequence[dict[str, Any]], own: dict[str, Any]) -> list[str]:
    """Return the variables that a worker has otherwise than another one, or than we."""
    return [
        name.upper()
        for name, value in own.items()
        if any(each[name] != value for each in facts if name in each)
    ]


def _held_up(notes: Notes, waiting: int | None) -> str:
    """Say why nothing is heard of listeners that may well run; "" when nothing keeps reports."""
    if not notes.workers:
        return ""
    count = f" ({waiting} on the queue events)" if waiting else ""
    if are_reports_held_up(notes.workers):
        return (
            "not known: all slots of the workers are busy, so the listeners' reports wait" + count
        )
    return f"not known: the listeners' reports wait for a worker{count}" if waiting else ""


def _listening(notes: Notes, heard: Sequence[Listener], held_up: str) -> Check:
    name = "listeners"
    if held_up:
        return Check.warn(name, held_up, "see celery -A worker backlog")
    if not heard:
        return _nobody_listens(notes)
    wanted = sum(each.status.connections_wanted for each in heard)
    up = sum(each.status.connections_up for each in heard)
    shown = f"{len(heard)} running, {up} of {wanted} connections to DingTalk up"
    troubles = sorted({each.status.trouble for each in heard if each.status.trouble})
    if troubles:
        shown += f" ({', '.join(troubles)})"
    off = "".join(f"; {words}" for each in heard if (words := _clock(each)))
    if not up:
        return Check.fail(name, shown + off, _fix_of(troubles))
    ages = [age for each in heard if (age := each.frame_age_s) is not None]
    shown += f"; last frame {min(ages):.0f} s ago" if ages else "; no frame has come yet"
    shown += off
    if up < wanted:
        return Check.warn(name, shown, _fix_of(troubles))
    if ages and min(ages) > SILENT_S:
        return Check.warn(name, shown, "DingTalk pings more often: look at the listener's log")
    if off:
        return Check.warn(name, shown, "set clocks by the network (NTP); see workers and queues")
    return Check.ok(name, shown)


def _clock(listener: Listener) -> str:
    """Say that its reports seem to come from another time; nothing when they do not."""
    late_s, offset_s = listener.late_s, listener.status.clock_offset_s
    if abs(late_s) <= CLOCK_S:
        return ""
    name = listener.status.listener
    if late_s < 0:
        return f"{name}: its clock is {-late_s:.0f} s ahead of the workers'"
    words = f"{name}: its clock is {late_s:.0f} s behind the workers'"
    if offset_s is not None and abs(late_s - offset_s) <= EXPLAINED_S:
        return words
    return f"{words}, or its reports wait so long in the queue"


def _fix_of(troubles: Sequence[str]) -> str:
    if "refused" in troubles:
        return "DingTalk refuses this bot: see credentials above; is Stream mode on? --deep tries"
    return "see api above; the listener's line `reconnecting` has the reason"


def _nobody_listens(notes: Notes) -> Check:
    name, start = "listeners", "python -m listener"
    if not notes.workers:
        return Check.skip(name, "without a worker nobody records their reports", "start a worker")
    if notes.listeners:
        last = min(notes.listeners, key=lambda each: each.age_s)
        how = "it was stopped" if last.status.stopped else "it says nothing any more"
        return Check.fail(
            name, f"none runs: the last report came {last.age_s:.0f} s ago, {how}", start
        )
    return Check.fail(name, "none has reported", f"{start}; when it ends, its last line says why")


def _allowed(settings: WorkerSettings, heard: Sequence[Listener]) -> Check:
    """What the listeners have counts; our own environment only while they are silent."""
    if not heard:
        try:
            own = _WhoIsAllowed.load().allowed_users
        except SettingsError:  # said under settings
            own = ()
        return check_allowed_users(own, late_policy=settings.late_policy)
    statuses = [each.status for each in heard]
    people = max(status.allowed_users for status in statuses)
    everybody = [EVERYBODY] if any(status.allows_everybody for status in statuses) else []
    allowed = [*everybody, *(f"#{number}" for number in range(people))]
    check = check_allowed_users(allowed, late_policy=settings.late_policy)
    same = {(status.allows_everybody, status.allowed_users) for status in statuses}
    if len(same) > 1:
        reason = "listeners differ in DINGTALK_ALLOWED_USERS: who is let in is a matter of luck"
        return Check.warn("allowed users", reason, "give all listeners the same")
    return check


def _groups(heard: Sequence[Listener], held_up: str) -> Check:
    """DingTalk says nothing of messages it does not push, so the three causes can only be named."""
    name = "group messages"
    if not heard:
        return Check.skip(name, held_up or "no listener reports")
    statuses = [each.status for each in heard]
    seen = sum(status.group_messages for status in statuses)
    if denied := sum(status.denied for status in statuses):
        return Check.warn(
            name,
            f"{_who_was_denied(statuses, denied)}; {seen} group message(s) were let in",
            "the listener's line `message denied` has the id to add",
        )
    if seen:
        return Check.ok(name, f"{seen} since the listener started")
    reason = (
        "none has come since the listener started, and nobody was denied; if one was written, the "
        "bot is not in that group, or the message did not @-mention it (DingTalk pushes no other)"
    )
    if not any(status.messages for status in statuses):
        # The hello that somebody writes to try it is in the next report.
        age_s = min(each.age_s for each in heard)
        reason += f"; as no other message had come either when it last reported, {age_s:.0f} s ago,"
        reason += " the robot may not be in Stream mode, or the app not published"
    return Check.skip(
        name,
        reason,
        "add the bot (group settings → 机器人) and write to it with @; docs/troubleshooting.md",
    )


def _who_was_denied(statuses: Sequence[ListenerStatus], denied: int) -> str:
    in_groups = sum(status.denied_in_groups for status in statuses)
    words = []
    if in_groups:
        words.append(f"group not in DINGTALK_ALLOWED_GROUPS: {in_groups} message(s) were denied")
    if others := denied - in_groups:
        people = max(status.denied_senders for status in statuses)
        of = "" if in_groups else f" of {people} sender(s)"  # who are counted together
        words.append(f"sender not in DINGTALK_ALLOWED_USERS: {others} message(s){of} were denied")
    return "; ".join(words)


def _sealing(settings: WorkerSettings, workers: Sequence[Note], heard: Sequence[Listener]) -> Check:
    name, fix = "sealing", "give all processes the same ENVELOPE_KEY"
    here = settings.envelope_key is not None
    there = [bool(note.facts["sealed"]) for note in workers if "sealed" in note.facts]
    there += [each.status.sealed for each in heard]
    if any(each != here for each in there):
        without = "some have none" if here else "this one has none"
        reason = f"some processes have an ENVELOPE_KEY and {without}: what one seals another cannot"
        return Check.fail(name, f"{reason} open", fix)
    mine = settings.sealer.fingerprint
    keys = [(note.key, note.facts.get("key")) for note in workers]
    keys += [(each.status.listener, each.status.key) for each in heard]
    # A listener of an earlier release does not tell.
    if others := [who for who, key in keys if key and key != mine]:
        return Check.warn(
            name,
            f"there are {', '.join(others)} whose newest ENVELOPE_KEY is another one than this "
            "process's; during a rotation that is meant, else what one seals the other cannot open",
            f"{fix}; during a rotation the old key stays behind the new",
        )
    return Check.ok(name, "what people wrote is sealed on its way" if here else "off: in clear")
