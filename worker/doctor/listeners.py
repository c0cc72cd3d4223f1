"""Who listens, and to whom: what listeners say of themselves, by the notes that workers record.

Asked by ``worker/doctor/processes.py``. A listener reports each of its bots by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from contract.checks import Check
from contract.report import ListenerStatus, ReportError
from contract.settings import CommaSeparated, Settings, SettingsError
from contract.settings_checks import EVERYBODY, check_allowed_users
from worker.settings import WorkerSettings
from worker.store import Note

__all__ = ["Listener", "check_listeners", "read_listeners"]

# DingTalk pings every half minute or so, and pings count.
SILENT_S = 120
# Listeners report every quarter of a minute, and once more when they stop.
STALE_S = 45
# By so much a report's age may be off, and the listener's clock is not said to be; what DingTalk
# says of that clock is measured to a second or so, and a report waits a moment.
CLOCK_S, EXPLAINED_S = 30, 5


@dataclass(frozen=True)
class Listener:
    """A listener's last report of one bot.

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


class _WhoIsAllowed(Settings):
    """The one setting of the listener's that tells who is answered."""

    allowed_users: CommaSeparated = Field(validation_alias="DINGTALK_ALLOWED_USERS", default=())


def read_listeners(notes: Sequence[Note]) -> Iterator[Listener]:
    """Read them; those of a later release are left out."""
    for note in notes:
        try:
            status = ListenerStatus.from_wire(note.facts)
            yield Listener(status, note.age_s, note.facts.get("age_s", 0.0))
        except ReportError:  # of a later release
            continue


def check_listeners(
    settings: WorkerSettings,
    listeners: Sequence[Listener],
    *,
    held_up: str,
    are_recorded: bool,
) -> Iterator[Check]:
    """Yield ``listeners``, then ``allowed users`` and ``group messages`` of each bot.

    Args:
        settings: Our own.
        listeners: All that reported, and are not forgotten yet.
        held_up: Why nothing is heard of those that may well run; "" when nothing is known of it.
        are_recorded: Whether there is a worker to record what they report.
    """
    heard = [each for each in listeners if each.is_heard]
    yield _listening(settings, listeners, heard, held_up, are_recorded=are_recorded)
    for name, bot in settings.named_bots:
        its = [each for each in heard if not name or each.status.bot == bot.client_id]
        yield _allowed(bot, its).about(name)
    for name, bot in settings.named_bots:
        its = [each for each in heard if not name or each.status.bot == bot.client_id]
        yield _groups(its, held_up).about(name)


def _listening(
    settings: WorkerSettings,
    listeners: Sequence[Listener],
    heard: Sequence[Listener],
    held_up: str,
    *,
    are_recorded: bool,
) -> Check:
    name = "listeners"
    if held_up:
        return Check.warn(name, held_up, "see celery -A worker backlog")
    if not heard:
        return _nobody_listens(listeners, are_recorded=are_recorded)
    wanted = sum(each.status.connections_wanted for each in heard)
    up = sum(each.status.connections_up for each in heard)
    processes = {each.status.listener: each for each in heard}
    shown = f"{len(processes)} running, {up} of {wanted} connections to DingTalk up"
    troubles = sorted({each.status.trouble for each in heard if each.status.trouble})
    if troubles:
        shown += f" ({', '.join(troubles)})"
    off = "".join(f"; {words}" for each in processes.values() if (words := _clock(each)))
    down = _down(settings, heard)
    if down is not None:
        return Check.fail(name, shown + off + down, _fix_of(troubles))
    if strangers := sorted(_strangers(settings, heard)):
        return Check.fail(
            name,
            f"{shown}; {', '.join(strangers)} is not in these settings: what is written to it is "
            "kept as missed (no_route)",
            "give all processes the same bots, this one too",
        )
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


def _down(settings: WorkerSettings, heard: Sequence[Listener]) -> str | None:
    """Return which bots nobody hears; None when all are heard, "" when a bot alone is not."""
    up = {each.status.bot for each in heard if each.status.connections_up}
    if not up:
        return ""
    gone = [name for name, bot in settings.named_bots if name and bot.client_id not in up]
    return f"; nobody listens for {', '.join(gone)}" if gone else None


def _strangers(settings: WorkerSettings, heard: Sequence[Listener]) -> set[str]:
    """Return the bots of listeners that are not ours; none while ours does not know who it is."""
    known = {bot.client_id for bot in settings.of_bots}
    return set() if None in known else {each.status.bot for each in heard} - known


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


def _nobody_listens(listeners: Sequence[Listener], *, are_recorded: bool) -> Check:
    name, start = "listeners", "python -m listener"
    if not are_recorded:
        return Check.skip(name, "without a worker nobody records their reports", "start a worker")
    if listeners:
        last = min(listeners, key=lambda each: each.age_s)
        how = "it was stopped" if last.status.stopped else "it says nothing any more"
        return Check.fail(
            name, f"none runs: the last report came {last.age_s:.0f} s ago, {how}", start
        )
    return Check.fail(name, "none has reported", f"{start}; when it ends, its last line says why")


def _allowed(settings: WorkerSettings, heard: Sequence[Listener]) -> Check:
    """What the listeners have counts; our own environment only while they are silent."""
    if not heard:
        return check_allowed_users(_own_allowed(settings), late_policy=settings.late_policy)
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


def _own_allowed(settings: WorkerSettings) -> Sequence[str]:
    try:
        bots = _WhoIsAllowed.load().of_bots
    except SettingsError:  # said under settings
        return ()
    return next((bot.allowed_users for bot in bots if bot.client_id == settings.client_id), ())


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
