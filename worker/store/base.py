"""What a store remembers about a message, whatever keeps it.

``worker/answering.py`` and ``worker/sending/delivery.py`` claim and finish messages through this
interface; ``worker/running/sweep.py`` asks it what is due; the operator's commands read what was
missed, how a message fared and who is there.

**Time is the store's.** Callers pass durations; what "now" is, the store's own server says
(Redis ``TIME``, PostgreSQL's clock, this machine's for SQLite), so that workers whose clocks
differ still agree on which lease is alive.

**Every unfinished message is due at some moment**: when its lease runs out, when its next attempt
was set, or when a turn it waits for should long have come. :meth:`Store.due` hands those out, and
one mechanism covers retries, crashed workers and drained ones.

**One message of a lane has the turn**, from its first claim until it is finished, over every
retry and every takeover. The others are parked: in the store alone, in the order they were
written. Whoever finishes one is given the next, and publishes it.

**Every message has a story**: the steps it took, written along with what is written anyway.

**What was said is remembered with the end of its message**, in the same step, and only when that
says that the answer has arrived. So it is never there twice, whoever takes the message over, and it
is there before the next one of the lane starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

__all__ = [
    "Claim",
    "Claimed",
    "DueMessage",
    "Exchange",
    "Finished",
    "Held",
    "Kept",
    "Lease",
    "LeaseLostError",
    "Limit",
    "Merged",
    "MissedBriefly",
    "MissedReply",
    "Note",
    "Open",
    "Pace",
    "Parked",
    "Reason",
    "Scope",
    "Step",
    "StopResult",
    "StoppedEarly",
    "StoppedMessage",
    "Store",
    "StoreError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "Story",
    "Taken",
    "Turn",
    "Unfinished",
]


class StoreError(Exception):
    """The store could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached now, or did not answer; trying again is safe."""


class StoreSchemaError(StoreError):
    """The store's schema is of another release than this code can work with."""


class LeaseLostError(StoreError):
    """Somebody else holds the message by now, or it is finished: what we wanted to write is not."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"lease on task {self.task_id} is lost"


class Reason(StrEnum):
    """Why a reply was missed; the words an operator sees in Flower, logs and ``late``."""

    EXPIRED_IN_QUEUE = "expired_in_queue"
    EXPIRED_RUNNING = "expired_running"
    EXPIRED_AT_SEND = "expired_at_send"
    REJECTED_BY_DINGTALK = "rejected_by_dingtalk"
    THROTTLED = "throttled"
    AGENT_FAILED = "agent_failed"
    AGENT_TIMEOUT = "agent_timeout"
    NO_ROUTE = "no_route"
    TOO_MANY_WAITING = "too_many_waiting"
    SPOOL_FULL = "spool_full"
    WEBHOOK_NOT_ALLOWED = "webhook_not_allowed"
    UNSUPPORTED_VERSION = "unsupported_version"
    QUOTA_USED_UP = "quota_used_up"

    @property
    def is_lateness(self) -> bool:
        """Whether the answer itself is fine, and may be sent by a fresh webhook."""
        return self in _LATE


_LATE = frozenset(
    {Reason.EXPIRED_IN_QUEUE, Reason.EXPIRED_RUNNING, Reason.EXPIRED_AT_SEND, Reason.THROTTLED}
)


@dataclass(frozen=True)
class Lease:
    """The right to work on one message, until it runs out or is taken over.

    ``token`` grows with every claim of the message (a fencing token): a write with an old one is
    refused by :class:`LeaseLostError`, however late it comes. ``length_s`` is what it was claimed
    for, and how long a message that we were to publish waits for somebody else to do it. ``lane``
    is the store's own: where the message has the turn, "" when in none, None when it has to look.
    """

    task_id: str
    owner: str
    token: int
    length_s: float = 15.0
    lane: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Step:
    """One moment of a message's story; what ``celery -A worker trace`` shows.

    Args:
        name: One word, see ``docs/operations.md``.
        facts: Plain JSON: durations, codes, owners; nothing anybody wrote, and no webhook.
        ago_s: How long before the write it happened.
        at: When it was, on the store's clock; set by the store.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    ago_s: float = 0.0
    at: datetime | None = None


@dataclass(frozen=True)
class Turn:
    """Where a message stands among those that wait for each other.

    Args:
        lane: From :func:`contract.turn.lane`; one message of a lane is worked on at a time.
        place: From :func:`contract.turn.place`; the lower goes first.
        sender: Whose messages may be merged.
        after: Task id of the message that was written before it, which the store should know
            before this one starts; None when there is none.
        wait_s: How long to wait for that one at most.
        max_waiting: How many may wait in the lane; None is any number.
        merge: Whether those of one sender that wait become one turn.
    """

    lane: str
    place: tuple[int, int]
    sender: str = ""
    after: str | None = None
    wait_s: float = 60.0
    max_waiting: int | None = None
    merge: bool = False


@dataclass(frozen=True)
class Scope:
    """Whose memory: a conversation's, which all in it share, or that of one person in it.

    ``person`` is empty for the former. Bots never share one.
    """

    bot: str
    conversation_id: str
    person: str = ""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, as a memory keeps them.

    Args:
        scope: Whose memory.
        person: Who asked.
        place: From :func:`contract.turn.place`; a memory is in the order of the questions.
        said: Plain JSON, which the store does not look into.
        turns: How many the memory keeps; the oldest beyond them are forgotten.
        ttl_s: How long it is kept.
    """

    scope: Scope
    person: str
    place: tuple[int, int]
    said: Any = field(repr=False)
    turns: int
    ttl_s: float


@dataclass(frozen=True)
class Kept:
    """An answer that is to be kept; see :meth:`Store.keep_answer`."""

    answer: str = field(repr=False)
    steps: Sequence[Step] = ()
    exchange: Exchange | None = None


@dataclass(frozen=True)
class Claimed:
    """The message is ours.

    ``answer`` is the kept answer when the agent has already run (then only delivery is left);
    ``attempts`` counts further runs of the agent, with an answer delivery attempts; ``takeovers``
    how often a lease on this message died before; ``sent`` how many parts of the answer have
    arrived; ``in_doubt`` whether the last worker died while it posted the next, which may have
    arrived or not; ``crowded``
    whether too many wait in its lane already, where it has no place then; ``rerun`` whether an
    operator wants it answered although it was missed before; ``missed`` as what it was taken to be
    sent, by somebody who died over it; ``others_kept`` whether :meth:`Store.take_missed` would find
    anything in its conversation, as far as that is known.
    """

    lease: Lease
    envelope: dict[str, Any] = field(repr=False)
    answer: str | None = field(default=None, repr=False)
    attempts: int = 0
    takeovers: int = 0
    sent: int = 0
    in_doubt: bool = False
    crowded: bool = False
    rerun: bool = False
    missed: "Taken | None" = None
    others_kept: bool = True


@dataclass(frozen=True)
class Held:
    """Worked on by ``owner``, or waiting for its time (""): this copy can go.

    The store hands it out when the lease dies, or the time has come.
    """

    owner: str


@dataclass(frozen=True)
class Finished:
    """Done, missed, or not known (any more): there is nothing to do."""

    outcome: str | None


@dataclass(frozen=True)
class DueMessage:
    """An unfinished message that nobody works on and whose time has come.

    ``attempts`` counts the delivery attempts made so far.
    """

    task_id: str
    message_id: str
    has_answer: bool
    envelope: dict[str, Any] = field(repr=False)
    attempts: int = 0


@dataclass(frozen=True)
class Parked:
    """Kept until its turn comes: this copy can go.

    ``next`` is to be published by us, when our coming was what another one waited for.
    """

    next: DueMessage | None = None


@dataclass(frozen=True)
class Merged:
    """Done, with others: their texts are part of ``next``, which is to be published by us.

    ``messages`` are those that are done by this, ours first, by task id and message id.
    """

    next: DueMessage
    messages: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StoppedEarly:
    """Done by this: before it was known here, somebody had :meth:`Store.stop` end what was written.

    ``facts`` are those of the stop; ``next`` is to be published by us, when our coming was what it
    waited for.
    """

    facts: dict[str, Any]
    next: DueMessage | None = None


Claim = Claimed | Held | Finished | Parked | Merged | StoppedEarly


@dataclass(frozen=True)
class StoppedMessage:
    """A message that :meth:`Store.stop` has ended.

    ``state`` is what it was, as in :class:`Story`; ``is_at_work`` whether a worker that lives has
    it, which will notice; ``sent`` how many parts of its answer have arrived.
    """

    task_id: str
    message_id: str
    state: str
    is_at_work: bool
    sent: int
    envelope: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class StopResult:
    """What :meth:`Store.stop` has done; those that are ``next`` are to be published by us."""

    messages: tuple[StoppedMessage, ...]
    next: tuple[DueMessage, ...] = ()


@dataclass(frozen=True)
class Open:
    """An unfinished message of a conversation.

    ``state`` is as in :class:`Story`; ``running_s`` for how long a worker has had it, None when
    none has.
    """

    task_id: str
    state: str
    running_s: float | None
    envelope: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class MissedReply:
    """What the operator can see, and send after all.

    ``state`` is the final state in Flower (FLAGGED or FAILURE, and what it became when an operator
    has sent it after all, at ``handled_at``); ``detail`` one safe line, such as an error's class;
    ``sent`` how many parts of the answer had arrived; ``in_doubt`` whether one more may have.
    """

    task_id: str
    bot: str
    message_id: str
    conversation_id: str
    state: str
    reason: Reason
    errcode: int | None
    detail: str
    missed_at: datetime
    envelope: dict[str, Any] = field(repr=False)
    answer: str | None = field(default=None, repr=False)
    sent: int = 0
    in_doubt: bool = False
    handled_at: datetime | None = None


@dataclass(frozen=True)
class MissedBriefly:
    """An open missed reply, as far as counting them goes."""

    task_id: str
    reason: Reason
    missed_at: datetime


@dataclass(frozen=True)
class Taken:
    """What a missed reply was before somebody took it to send it; see :class:`MissedReply`."""

    state: str
    reason: Reason
    errcode: int | None
    detail: str
    is_handled: bool


@dataclass(frozen=True)
class Story:
    """How a message fared until now.

    ``state`` is running (``owner`` has it), waiting, parked, done or missed; ``outcome`` its final
    state in Flower, if it has one. Its steps are in order; ``received``, the first, says which
    message it is.
    """

    task_id: str
    state: str
    outcome: str | None
    owner: str | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Unfinished:
    """A message the store knows and nobody has finished; ``state`` as in :class:`Story`."""

    task_id: str
    state: str
    envelope: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Note:
    """What a process says of itself, or of something that all should know.

    ``age_s`` is measured by the store's clock.
    """

    key: str
    facts: dict[str, Any]
    age_s: float


@dataclass(frozen=True)
class Pace:
    """How many messages were finished in the last ``over_s`` seconds.

    ``work_s`` is what they took altogether, from their last claims on.
    """

    finished: int
    work_s: float
    over_s: float


@dataclass(frozen=True)
class Limit:
    """At most ``count`` come in within any ``per_s`` seconds, in all processes together.

    Args:
        key: What is limited, such as a bot's calls of one API.
        count: One or more.
        per_s: Length of the window; it is exact, no average.
        is_dormant: Whether it applies only while and after the key was held back, for as long as
            :meth:`Store.hold_back` says; without that, everybody comes in and nobody is counted.
    """

    key: str
    count: int
    per_s: float
    is_dormant: bool = False


class Store(Protocol):
    """One of ``RedisStore`` and ``SqlStore``; safe to share between threads, not over a fork.

    Every method may raise :class:`StoreUnavailableError`.
    """

    def prepare(self) -> None:
        """Create the schema, or check that it is one this code knows; safe to call at once by many.

        Raises:
            StoreSchemaError: It was made by a release this one cannot work with.
        """

    def check(self) -> None:
        """Write, read and remove a value; raise when any of it fails."""

    def claim(
        self,
        task_id: str,
        *,
        owner: str,
        lease_s: float,
        envelope: dict[str, Any] | None,
        turn: Turn | None = None,
        written: tuple[int, int] | None = None,
        steps: Sequence[Step] = (),
    ) -> Claim:
        """Claim a message, in one atomic step.

        Nobody has it → ours. A lease that ran out, or was released → ours, with a new token.
        A living lease → :class:`Held`, also when it is our own; a released message whose time has
        not come → :class:`Held` as well. Done or missed → :class:`Finished`. Not its turn →
        :class:`Parked`; its turn, and others of its sender wait behind it → :class:`Merged`, if
        ``turn`` says so. Not known before, and written before its conversation was stopped →
        :class:`StoppedEarly`.

        Args:
            task_id: From :func:`contract.routing.task_id`.
            owner: Names this process in logs.
            lease_s: Life of the lease without a renewal.
            envelope: Kept until the message is finished (that of the first claim wins). With None
                (the task carried none) an unknown message is :class:`Finished`.
            turn: What it waits for; that of the first claim wins. None: nothing.
            written: Its place in its conversation, from :func:`contract.turn.place`, by which it
                can be stopped; that of the first claim wins. None: nobody can stop it.
            steps: How its story begins, should this be the first claim. That it was ``taken``,
                ``taken_over``, ``parked`` or ``merged`` is added here.
        """

    def renew(self, leases: Sequence[Lease], *, lease_s: float) -> list[Lease]:
        """Prolong leases; return those that are not ours any more."""

    def keep_answer(
        self,
        lease: Lease,
        answer: str,
        steps: Sequence[Step] = (),
        *,
        exchange: Exchange | None = None,
    ) -> None:
        """Store what the agent said, before any of it is sent; attempts are counted anew.

        Args:
            lease: Ours.
            answer: As it is to be sent.
            steps: How the story goes on, here and below.
            exchange: What is to be remembered once the answer has arrived: with :meth:`finish` or
                :meth:`settle` as ``SUCCESS`` or ``RESCUED``, by whomever.

        Raises:
            LeaseLostError: Another worker took over; do not send.
        """

    def sending(
        self,
        lease: Lease,
        *,
        sent: int,
        steps: Sequence[Step] = (),
        limits: Sequence[Limit] = (),
        kept: Kept | None = None,
    ) -> float:
        """Note that the part after the ``sent`` ones is about to be posted, if it may be.

        Should this be the last that is heard of us, the next one to claim the message knows that
        the outcome of one post is not known.

        Args:
            lease: Ours.
            sent: How many parts have arrived.
            steps: As in :meth:`keep_answer`.
            limits: What the post has to keep to; as in :meth:`admit`, in the same step.
            kept: The answer, when it is not kept yet: that is done first, as by
                :meth:`keep_answer`, whatever the limits say.

        Returns:
            0 when it may be posted now; else for how many seconds not: then nothing is noted but
            that the parts before it have arrived.

        Raises:
            LeaseLostError: Another worker took over; do not send.
        """

    def release(
        self,
        lease: Lease,
        *,
        due_in_s: float,
        attempts: int | None = None,
        sent: int | None = None,
        in_doubt: bool | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        """Give the message back, unfinished, to be worked on in ``due_in_s`` (0: at once).

        It keeps the turn.

        Args:
            lease: Ours.
            due_in_s: When :meth:`due` returns it, and not before this it can be claimed.
            attempts: New count of attempts; None leaves it.
            sent: How many parts have arrived; None leaves it.
            in_doubt: Whether one more may have arrived; None leaves it.
            steps: As in :meth:`keep_answer`.

        Raises:
            LeaseLostError: Another worker took over.
        """

    def finish(
        self,
        lease: Lease,
        outcome: str,
        steps: Sequence[Step] = (),
        *,
        paced: bool = True,
        exchange: Exchange | None = None,
    ) -> DueMessage | None:
        """Record that the message is done; forget its envelope and answer, keep its id.

        Id and story are kept for the store's ``done_ttl_s``, so that a redelivery is known as one.
        ``paced`` is whether :meth:`pace` counts it; ``exchange`` what is to be remembered of one
        without an answer, in place of what :meth:`keep_answer` was given.

        Returns:
            The next in its lane, to be published by us; should that fail, :meth:`due` hands it
            out after the lease's length.

        Raises:
            LeaseLostError: Another worker took over.
        """

    def miss(
        self,
        lease: Lease,
        *,
        state: str,
        reason: Reason,
        errcode: int | None,
        detail: str,
        in_doubt: bool = False,
        by_hand_only: bool = False,
        steps: Sequence[Step] = (),
    ) -> DueMessage | None:
        """Record that the reply was missed; keep envelope and answer for ``missed_ttl_s``.

        Args:
            lease: Ours.
            state: The final state in Flower.
            reason: Why.
            errcode: DingTalk's, when it said no.
            detail: One safe line.
            in_doubt: Whether it may have arrived all the same, so that
                :meth:`take_missed` must not hand it out.
            by_hand_only: The same for another reason.
            steps: As in :meth:`keep_answer`.

        Returns:
            As :meth:`finish`.

        Raises:
            LeaseLostError: Another worker took over.
        """

    def take_missed(
        self, bot: str, conversation_id: str, *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[Lease, MissedReply]]:
        """Claim kept answers of a conversation, oldest first, to send them after all.

        Only those that were late, and of which no post was in doubt. They are no missed replies
        while we have them; :meth:`finish` each, or :meth:`miss` it again.
        """

    def due(self, *, limit: int, hold_s: float) -> list[DueMessage]:
        """Take up to ``limit`` messages whose time has come, oldest first.

        Each is handed to one caller only; if nobody claims it, it is due again after ``hold_s``,
        and after longer each time: in a long queue, copies would only make it longer.

        When nobody has asked for half of ``hold_s``, the store was away, and leases could not be
        renewed. Then nothing is taken over, by this or by :meth:`claim`, for ``hold_s``.
        """

    # What is unfinished in a conversation.

    def stop(
        self,
        bot: str,
        conversation_id: str,
        *,
        before: tuple[int, int],
        facts: dict[str, Any],
        hold_s: float,
        task_id: str | None = None,
    ) -> StopResult:
        """End what is unfinished in a conversation, in one atomic step: it becomes CANCELLED.

        Whoever works on such a message has lost its lease. What somebody took to send it after all
        is left to him. What was written before and is not known yet, as it is still on the broker,
        ends when it is claimed; that is remembered for ``done_ttl_s``.

        Args:
            bot: To which the conversation was written.
            conversation_id: Where.
            before: A place, see :meth:`claim`: only what has a lower one.
            facts: Who said so: plain JSON, at least one, for the story.
            hold_s: After how long :meth:`due` hands out who is next, should we not publish it.
            task_id: Only this message, and none that is not known yet.
        """

    def open_in(self, bot: str, conversation_id: str) -> list[Open]:
        """Return what :meth:`stop` would end: first those at work, then as they take turns."""

    def last_stop(self) -> int:
        """Return a number that is another one once a message at work was stopped."""

    # What was said.

    def exchanges(
        self, scope: Scope, *, before: tuple[int, int], turns: int, within_s: float
    ) -> list[Any]:
        """Return what was said in the last exchanges of a memory, oldest first.

        Args:
            scope: Whose memory.
            before: Only what was asked before this place.
            turns: At most so many.
            within_s: Only those that were remembered in the last so many seconds.
        """

    def forget(
        self,
        *,
        conversation_id: str = "",
        person: str = "",
        bot: str = "",
        before_ms: int | None = None,
    ) -> int:
        """Forget what was said in a conversation, by one person in it, or by one anywhere.

        What is on its way into the memory, or kept with an answer that was missed, does not get
        there any more.

        Args:
            conversation_id: Empty: all of them; then a person is named, and no bot.
            person: Who asked; empty: everybody.
            bot: Whose memory; empty: that of all bots.
            before_ms: Only what was asked before this; None: until now.

        Returns:
            How many exchanges were forgotten.
        """

    # For the operator.

    def missed(
        self, *, limit: int = 1000, since_s: float | None = None, handled: bool = False
    ) -> list[MissedReply]:
        """Return missed replies, newest first.

        Args:
            limit: At most so many.
            since_s: Only those missed in the last so many seconds.
            handled: Those that an operator has sent after all, instead of the open ones.
        """

    def missed_briefly(
        self, *, limit: int = 1000, since_s: float | None = None
    ) -> list[MissedBriefly]:
        """Return what :meth:`missed` does, without what was written."""

    def find_missed(self, id_: str) -> MissedReply | None:
        """Return the missed reply with this task id or ``message_id``; an open one first."""

    def take_missed_one(
        self, task_id: str, *, owner: str, lease_s: float
    ) -> tuple[Lease, MissedReply] | None:
        """Claim a missed reply, to send it; None when there is none (any more).

        As :meth:`take_missed`, but any that is open or handled: :meth:`settle` it, or
        :meth:`miss` it again. Should the caller die, whoever claims it next is told what it was.
        """

    def settle(self, lease: Lease, outcome: str, steps: Sequence[Step] = ()) -> None:
        """Record that an operator has sent a missed reply; it is kept for ``missed_ttl_s`` more.

        Raises:
            LeaseLostError: Somebody else has the message.
        """

    def rerun(self, task_id: str, *, hold_s: float) -> DueMessage | None:
        """Make an open missed reply that has no answer a message to be worked on again.

        Returns:
            What is to be published by us; should that fail, :meth:`due` hands it out after
            ``hold_s``. None when there is no such reply, or it has an answer.
        """

    def discard(self, task_id: str) -> bool:
        """Forget a missed reply, save its story; False when there is none. It ends as DROPPED."""

    def route(self, bot: str, conversation_id: str) -> dict[str, Any] | None:
        """Return what of the conversation's last envelope leads there, if its webhook lives.

        ``session_webhook`` or ``sealed``, ``deadline``, ``webhook_expires_at``,
        ``clock_offset_s`` and ``message_id``.
        """

    def story(self, id_: str) -> Story | None:
        """Return the story of the message with this task id or ``message_id``."""

    def stories(self, conversation_id: str, *, limit: int) -> list[Story]:
        """Return those of a conversation's last messages, newest first."""

    def unfinished(self, *, limit: int = 1000) -> list[Unfinished]:
        """Return messages that are not finished, those first whose time comes first."""

    def pace(self, *, over_s: float) -> Pace:
        """Return how quickly messages are being finished; ``over_s`` at most an hour."""

    # For the processes.

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep ``facts`` (plain JSON) for ``ttl_s``, in place of what is kept under this key."""

    def remembered(self, kind: str) -> list[Note]:
        """Return what is kept of this kind, by key."""

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """Return whether nobody else was told True within the time; one of many callers is."""

    def recalled(self, kind: str, key: str) -> Note | None:
        """Return what is kept of this kind under this key."""

    def count_up(self, kind: str, key: str, *, ttl_s: float, by: int = 1) -> int:
        """Add to a count that all processes share; return what it is now.

        Args:
            kind: Apart from the kinds of :meth:`remember`.
            key: Which count of this kind.
            ttl_s: It begins anew when nobody has added to it for so long.
            by: 0 only reads it.
        """

    # What all processes keep to together.

    def admit(self, limits: Sequence[Limit]) -> float:
        """Let one in, if all of the limits do, in one atomic step.

        Args:
            limits: Of different keys.

        Returns:
            0 when it is in, and counts for each of them; else after how many seconds to ask
            again: then it counts for none. Who asks again sooner does no harm, and who is first
            then is in.
        """

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """Let nobody in by limits of this key for ``for_s``; what was said before is not shortened.

        Args:
            key: As in :class:`Limit`.
            for_s: From now on.
            slow_s: For how much longer dormant limits of this key apply.
        """

    def prune(self) -> int:
        """Forget what is past its time, some thousands at once; call again until it returns 0.

        Returns:
            How many records went, or lost what is over, where we do it ourselves.
        """

    def close(self) -> None:
        """Close connections; the store can be used again after it."""
