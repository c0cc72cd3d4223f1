"""Who is there: workers and listeners, by what they say of themselves in the store.

A listener's reports are recorded by workers, so without a worker nothing is known of listeners.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from contract.checks import Check, named
from worker.doctor.listeners import Listener, check_listeners, read_listeners
from worker.reports import LISTENER
from worker.running.presence import KIND, agents_of, are_reports_held_up
from worker.settings import WorkerSettings
from worker.store import Note, Store, StoreError

__all__ = ["Notes", "check_processes", "names_of_processes"]

# Workers say every 10 s that they are there.
OLD_S, OVERDUE_S = 15, 20


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
        return cls(tuple(workers), tuple(read_listeners(listeners)))


def names_of_processes(settings: WorkerSettings) -> tuple[str, ...]:
    """Return the names of what :func:`check_processes` yields, in its order."""
    bots = [name for name, _ in settings.named_bots]
    of_bots = (named(word, bot) for word in ("allowed users", "group messages") for bot in bots)
    return ("workers", "listeners", *of_bots, "sealing")


def check_processes(
    settings: WorkerSettings,
    notes: Notes | None,
    reports_waiting: Callable[[], int | None] = lambda: None,
) -> Iterator[Check]:
    """Yield the checks of :func:`names_of_processes`.

    Args:
        settings: Our own.
        notes: None when nobody can be asked.
        reports_waiting: Asks the broker how much waits on the queue ``events``; None: not known.
    """
    if notes is None:
        own = {c.name: c for c in check_listeners(settings, [], held_up="", are_recorded=False)}
        for name in names_of_processes(settings):
            is_own = name.startswith("allowed users")
            yield own[name] if is_own else Check.skip(name, "the store cannot be read")
        return
    heard = [listener for listener in notes.listeners if listener.is_heard]
    yield _workers(settings, notes.workers)
    held_up = "" if heard else _held_up(notes, reports_waiting())
    are_recorded = bool(notes.workers)
    yield from check_listeners(
        settings, notes.listeners, held_up=held_up, are_recorded=are_recorded
    )
    yield _sealing(settings, notes.workers, heard)


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
    """Return what a worker with our settings would say (``worker/running/presence.py``)."""
    return {
        "agent": settings.agent,
        "dingtalk_bots": agents_of(settings),
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
    if others := dict.fromkeys(who for who, key in keys if key and key != mine):
        return Check.warn(
            name,
            f"there are {', '.join(others)} whose newest ENVELOPE_KEY is another one than this "
            "process's; during a rotation that is meant, else what one seals the other cannot open",
            f"{fix}; during a rotation the old key stays behind the new",
        )
    return Check.ok(name, "what people wrote is sealed on its way" if here else "off: in clear")
