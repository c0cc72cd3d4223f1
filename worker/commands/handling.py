"""What an operator does to missed replies: sends one after all, has one run anew, discards one.

Behind ``celery -A worker late``. A reply is claimed like any message before it is sent, so that
neither a worker nor a second operator sends it as well. Should this process be killed meanwhile,
its lease runs out, and a worker keeps the reply as missed again.
"""

import getpass
import logging
import os
import socket
from collections.abc import Callable

from contract.envelope import Envelope, EnvelopeError
from contract.sealing import Sealer, SealError
from dingwire.replies import Reply, replies_from_json
from worker.commands.telling import WAITING
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.sending.carrying import Route
from worker.sending.resending import InDoubtError, NotSentError, Resender, Sent
from worker.store import (
    DueMessage,
    Lease,
    MissedReply,
    Reason,
    Step,
    Store,
    StoreError,
    Story,
)

__all__ = ["Handling", "NotDoneError", "kept_answer", "operator"]

logger = logging.getLogger(__name__)

_NOTHING_KEPT = "what was written was lost with the listener's full spool"


class NotDoneError(Exception):
    """What the operator asked for was not done, or is not known to be; the text says why."""


def operator() -> str:
    """Return who sits at the command line, as stories name them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Handling:
    """An operator at work on one store."""

    def __init__(
        self,
        store: Store,
        *,
        resender: Resender,
        heartbeat: Heartbeat,
        sealer: Sealer,
        lease_s: float,
        by: str,
        tell: Callable[[str, Outcome | None], None],
        publish: Callable[[DueMessage], bool],
    ) -> None:
        """Prepare; ``by`` is who does it, ``tell`` shows Flower, ``publish`` fills the queue."""
        self._store = store
        self._resender, self._heartbeat, self._sealer = resender, heartbeat, sealer
        self._lease_s, self._by = lease_s, by
        self._tell, self._publish = tell, publish

    def send(self, id_: str, *, again: bool) -> Sent:
        """Send a kept answer; the agent is not run.

        Args:
            id_: Task id or message id.
            again: Also one that was sent, or may have arrived.

        Raises:
            NotDoneError: It is kept as it was.
            StoreError: The store is away.
        """
        found = self._find(id_)
        self._check(found, again=again)
        envelope, replies = self._opened(found)
        owner = f"{self._by}:{os.getpid()}"
        taken = self._store.take_missed_one(found.task_id, owner=owner, lease_s=self._lease_s)
        if taken is None:
            raise NotDoneError("somebody else has it right now")
        lease, missed = taken
        with self._heartbeat.holding(lease), self._heartbeat.sending(lease):
            try:
                self._check(missed, again=again)  # it may have changed before it was ours
            except NotDoneError:
                self._keep(lease, missed)
                raise
            return self._send(lease, missed, envelope, replies)

    def rerun(self, id_: str) -> bool:
        """Have the agent run anew; return whether it is queued, else a worker will queue it.

        Raises:
            NotDoneError: It has an answer, or nothing to run the agent on.
            StoreError: The store is away.
        """
        missed = self._find(id_)
        if missed.answer is not None:
            raise NotDoneError("it has an answer: `celery -A worker late send` delivers that")
        if missed.reason is Reason.SPOOL_FULL:
            raise NotDoneError(f"{_NOTHING_KEPT}: ask its sender to write again")
        message = self._store.rerun(missed.task_id, hold_s=self._lease_s)
        if message is None:
            raise NotDoneError("somebody else has it right now")
        self._tell(missed.task_id, None)
        return self._publish(message)

    def discard(self, id_: str) -> None:
        """Forget a missed reply.

        Raises:
            NotDoneError: It was sent already, or is not there any more.
            StoreError: The store is away.
        """
        missed = self._find(id_)
        if missed.handled_at is not None:
            raise NotDoneError(f"{self._was_sent(missed)}; there is nothing to discard")
        if not self._store.discard(missed.task_id):
            raise NotDoneError("somebody else has it right now")
        facts = {"outcome": "discarded", "by": self._by}
        self._tell(missed.task_id, Outcome(FinalState.DROPPED, missed.reason, facts=facts))

    def _find(self, id_: str) -> MissedReply:
        missed = self._store.find_missed(id_)
        if missed is not None:
            return missed
        story = self._store.story(id_)
        if story is None:
            raise NotDoneError("no missed reply has this id: `celery -A worker late` lists them")
        if story.outcome is not None:
            raise NotDoneError(f"it is no missed reply: it ended as {story.outcome}")
        raise NotDoneError(f"{_unfinished(story)}: `celery -A worker trace` tells more")

    def _check(self, missed: MissedReply, *, again: bool) -> None:
        """Refuse what has no answer, and what would or may be seen twice, unless ``again``."""
        if missed.answer is None:
            if missed.reason is Reason.SPOOL_FULL:
                raise NotDoneError(f"{_NOTHING_KEPT}: ask its sender to write again")
            raise NotDoneError("it has no answer: `celery -A worker late rerun` gets one")
        if missed.handled_at is not None and not again:
            raise NotDoneError(f"{self._was_sent(missed)}; --again sends it once more")
        if missed.in_doubt and not again:
            raise NotDoneError(
                "it may have arrived already, as a post was cut off: look into the "
                "conversation; --again sends it all the same"
            )

    def _was_sent(self, missed: MissedReply) -> str:
        """Say when it was sent and by whom, as far as its story goes."""
        story = self._store.story(missed.task_id)
        sends = [step for step in (story.steps if story else ()) if step.name == "sent"]
        last = sends[-1] if sends else Step("sent", at=missed.handled_at)
        when = f"{last.at:%Y-%m-%d %H:%M:%S} UTC" if last.at else "some time ago"
        return f"it was sent at {when} by {last.facts.get('by', 'an operator')}"

    def _opened(self, missed: MissedReply) -> tuple[Envelope, list[Reply]]:
        """Return what a missed reply holds, in clear."""
        try:
            envelope = Envelope.from_wire(self._sealer.unseal(missed.envelope))
            return envelope, kept_answer(missed, self._sealer)
        except SealError as error:
            raise NotDoneError(f"its answer cannot be read: it is {error}") from None
        except EnvelopeError as error:
            raise NotDoneError(f"its message cannot be read: {error}") from None
        except ValueError:
            raise NotDoneError("its answer was kept by a later release: use that one") from None

    def _send(
        self, lease: Lease, missed: MissedReply, envelope: Envelope, replies: list[Reply]
    ) -> Sent:
        was_sent = missed.handled_at is not None
        try:
            sent = self._resender.send(
                lease, envelope, replies, sent=0 if was_sent else missed.sent, again=was_sent
            )
        except NotSentError as error:
            self._failed(lease, missed, error)
            raise NotDoneError(_not_sent(error)) from None
        state = FinalState.SUCCESS if sent.route is Route.WEBHOOK else FinalState.RESCUED
        try:
            self._store.settle(lease, state, [Step("sent", {**sent.facts, "by": self._by})])
        except StoreError as error:
            raise NotDoneError(
                f"it was sent, but that could not be recorded, do not send it again: {error}"
            ) from None
        facts = {"outcome": "sent_by_operator", "by": self._by, **sent.facts}
        self._tell(lease.task_id, Outcome(state, missed.reason, facts=facts))
        self._log(missed, sent)
        return sent

    def _failed(self, lease: Lease, missed: MissedReply, error: NotSentError) -> None:
        # A part that was in doubt before stays so until it has arrived.
        is_in_doubt = isinstance(error, InDoubtError) or (
            missed.in_doubt and error.sent == missed.sent
        )
        facts = {"by": self._by, "detail": str(error), "parts": error.sent}
        if error.errcode is not None:
            facts["errcode"] = error.errcode
        detail = f"sending failed: {error}"
        self._keep(lease, missed, [Step("send_failed", facts)], detail=detail, in_doubt=is_in_doubt)

    def _keep(
        self,
        lease: Lease,
        missed: MissedReply,
        steps: list[Step] | None = None,
        *,
        detail: str | None = None,
        in_doubt: bool | None = None,
    ) -> None:
        """Give it back as what it was: missed, or sent before."""
        if missed.handled_at is not None:
            self._store.settle(lease, missed.state, steps or ())
            return
        self._store.miss(
            lease,
            state=missed.state,
            reason=missed.reason,
            errcode=missed.errcode,
            detail=missed.detail if detail is None else detail,
            in_doubt=missed.in_doubt if in_doubt is None else in_doubt,
            steps=steps or (),
        )

    def _log(self, missed: MissedReply, sent: Sent) -> None:
        logger.info(
            "reply sent by operator",
            extra={
                "action": "reply_sent_by_operator",
                "message_id": missed.message_id,
                "conversation_id": missed.conversation_id,
                "task_id": missed.task_id,
                "by": self._by,
                **sent.facts,
            },
        )


def kept_answer(missed: MissedReply, sealer: Sealer) -> list[Reply]:
    """Return the kept answer, in clear.

    Raises:
        SealError: There is no key for it here.
        ValueError: There is none, or it is of a later release.
    """
    return replies_from_json(sealer.unseal_text(missed.answer or ""))


def _unfinished(story: Story) -> str:
    if story.state == "running":
        return "it is being worked on, or sent"
    if story.state == "parked":
        return "it is not missed yet, and waits for its turn in its conversation"
    last = story.steps[-1].name if story.steps else ""
    return f"it is not missed yet, and {WAITING.get(last, 'waits for a worker')}"


def _not_sent(error: NotSentError) -> str:
    if isinstance(error, InDoubtError):
        return f"{error}; look into the conversation; --again sends it all the same"
    return f"not sent, and kept: {error}"
