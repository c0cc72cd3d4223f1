"""One message from its task to its end: claim, decide, keep, deliver, finish.

``worker/tasks.py`` calls :meth:`Answering.work` for ``answer`` and for ``deliver`` alike; what is
left to do, the store's record says: with a kept answer only delivery is left, so no failure of a
delivery ever runs the agent again. What runs it is in ``worker/asking.py``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from contract.commands import BuiltIn
from contract.envelope import Envelope, EnvelopeError
from contract.sealing import IN_CLEAR, Sealer, SealError
from dingwire.errors import WebhookNotAllowedError
from dingwire.messages import QUOTA_USED_UP
from dingwire.replies import Reply, Text, replies_from_json, replies_to_json
from worker.agents.base import Message
from worker.agents.cancelling import AgentStoppedError
from worker.agents.runner import AgentCancelledError
from worker.asking import Asking
from worker.bots import Bots, Runner, UnknownBotError
from worker.chat_commands import ChatCommands, Command
from worker.leases import Heartbeat
from worker.outcome import LEASE_LOST, FinalState, Outcome, log_outcome
from worker.patience import PatientStore
from worker.sending.apology import Apology
from worker.sending.carrying import Route
from worker.sending.delivery import Delivery
from worker.sending.handover import Handover
from worker.sending.late import LateReplies
from worker.sending.resending import InDoubtError, NotSentError, Resender
from worker.stopping import outcome_of_stop
from worker.store import (
    Claimed,
    Exchange,
    Finished,
    Held,
    Kept,
    Lease,
    LeaseLostError,
    Merged,
    Parked,
    Reason,
    Step,
    StoppedEarly,
    StoreError,
)
from worker.story import beginning
from worker.thinking import Thinking, Thought
from worker.timing import is_over
from worker.turns import Turns
from worker.words import CROWDED, FAILED, UNSUPPORTED

__all__ = ["Answering", "Tell", "WebhookCheck"]

logger = logging.getLogger(__name__)

# A message that killed its worker this often is not tried again.
_MAX_TAKEOVERS = 3

# How long a message sealed with a key that we lack is left to workers that may have it.
_LEFT_TO_OTHERS_S = 5.0

Tell = Callable[[str, Outcome], None]
"""Makes the outcome of another task than the running one seen in Flower."""


class WebhookCheck(Protocol):
    """The part of :class:`dingwire.webhook.WebhookHosts` that is used here."""

    def check(self, url: str) -> None:
        """Raise :class:`WebhookNotAllowedError` for a webhook we must not post to."""


class Answering:
    """Works on messages; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        bots: Bots,
        hosts: WebhookCheck,
        asking: Asking,
        delivery: Delivery,
        late: LateReplies,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        owner: str,
        lease_s: float,
        turns: Turns,
        tell: Tell,
        handover: Handover | None,
        resender: Resender,
        thinking: Thinking,
        commands: ChatCommands,
        apology: Apology | None = None,
        sealer: Sealer = IN_CLEAR,
        observe: Callable[[Outcome], object] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            store: What is remembered.
            bots: Who is written to, each with its agent.
            hosts: Where may be posted to.
            asking: Runs agents.
            delivery: Posts answers.
            late: What becomes of those that are late.
            heartbeat: Keeps leases alive.
            clock: Ours, aware UTC.
            owner: Names this process in logs.
            lease_s: Life of a lease without renewal.
            turns: What waits for what.
            tell: Makes the outcome of another task seen.
            handover: Delivers kept answers by fresh webhooks; without it they stay with the
                operator.
            resender: Delivers the answer of a message that an operator had run anew.
            thinking: Shows that an answer is being made.
            commands: What people tell the bot itself.
            apology: Tells people that there is none; nobody is told without it.
            sealer: Opens what listeners sealed, and seals answers.
            observe: Counts an outcome.
        """
        self._resender, self._sealer, self._observe = resender, sealer, observe
        self._commands = commands
        self._store, self._thinking, self._apology = store, thinking, apology
        self._turns, self._tell, self._handover = turns, tell, handover
        self._bots = bots
        self._hosts = hosts
        self._asking, self._delivery = asking, delivery
        self._late = late
        self._heartbeat = heartbeat
        self._clock = clock
        self._owner = owner
        self._lease_s = lease_s

    def work(self, task_id: str, data: dict[str, Any] | None) -> Outcome:
        """Bring a message as far as it goes now.

        Args:
            task_id: From :func:`contract.routing.task_id`.
            data: The envelope as the task carried it; None to go by what the store has kept.

        Raises:
            StoreUnavailableError: The process stops while the store is away; nothing was decided.
        """
        if data is not None and not isinstance(data, dict):
            data = {"not_an_envelope": data}  # kept as it came, and then told as what it is
        read = _read(data)
        carried = data if read is None else read
        claim = self._store.claim(
            task_id,
            owner=self._owner,
            lease_s=self._lease_s,
            envelope=data,
            turn=self._turns.of(carried),
            written=self._turns.place_of(carried),
            steps=beginning(carried, self._clock()),
        )
        if not isinstance(claim, Claimed):
            outcome = self._not_ours(claim)
            self._say(outcome, task_id, data or {})
            return outcome
        try:
            with self._heartbeat.holding(claim.lease):
                outcome = self._decide(claim, read if claim.envelope is data else None)
        except LeaseLostError:
            # Another worker took over while we were away; its result counts.
            outcome = Outcome(None, duplicate=True, detail=LEASE_LOST)
        except AgentCancelledError:
            outcome = Outcome(None, duplicate=True, detail="left to another worker")
        self._say(outcome, task_id, claim.envelope)
        return outcome

    def _not_ours(self, claim: Held | Finished | Parked | Merged | StoppedEarly) -> Outcome:
        match claim:
            case Held():
                return Outcome(None, duplicate=True)
            case Finished(outcome=recorded):
                return Outcome(FinalState.of(recorded), duplicate=True)
            case Parked(next=next_):
                self._store.hand_over(next_)
                return Outcome(None, parked=True)
            case StoppedEarly(facts=facts, next=next_):
                self._store.hand_over(next_)
                return outcome_of_stop("queued", facts)
            case Merged(next=next_, messages=messages):
                self._store.hand_over(next_)
                outcome = Outcome(FinalState.CANCELLED, detail=f"merged into {next_.message_id}")
                for task_id, message_id in messages[1:]:
                    self._tell(task_id, outcome)
                    self._say(outcome, task_id, {"message_id": message_id})
                return outcome

    def _decide(self, claim: Claimed, read: Envelope | None) -> Outcome:
        """Do what is left to do; ``read`` is the claim's envelope, if it was read already."""
        if claim.missed is not None:
            return self._late.put_back(claim, claim.missed)
        try:
            in_clear = self._sealer.unseal(claim.envelope)
            if read is None or in_clear is not claim.envelope:
                read = Envelope.from_wire(in_clear)
            envelope = read
        except SealError as error:
            return self._sealed(claim, error)
        except EnvelopeError as error:
            return self._late.keep(
                claim, Reason.UNSUPPORTED_VERSION, state=FinalState.FAILURE, detail=str(error)
            )
        with self._thinking.about(claim, envelope) as thought:
            try:
                if claim.answer is None:
                    outcome = self._think(claim, envelope, thought)
                else:
                    outcome = self._deliver_kept(claim, envelope, claim.answer, thought)
            except (LeaseLostError, AgentStoppedError):
                outcome = self._stopped(claim.lease)
            thought.ended(outcome)
        return outcome.with_facts(age_s=self._age_s(envelope))

    def _stopped(self, lease: Lease) -> Outcome:
        """Return how a message ended that is ours no more because it was stopped.

        Who stopped it has told everybody.

        Raises:
            LeaseLostError: That was not why: another worker has it, or this process is ending.
        """
        try:
            story = self._store.story(lease.task_id)
        except StoreError:
            story = None
        if story is None or story.outcome != FinalState.CANCELLED:
            raise LeaseLostError(lease.task_id)
        return Outcome(FinalState.CANCELLED, duplicate=True, detail="stopped")

    def _sealed(self, claim: Claimed, error: SealError) -> Outcome:
        """Leave what we have no key for to others, as long as there is time."""
        try:
            envelope = Envelope.from_wire(claim.envelope)
        except EnvelopeError:
            envelope = None
        is_over = envelope is None or envelope.deadline is None or self._is_over(envelope)
        if is_over or claim.rerun:
            return self._late.keep(
                claim, Reason.UNSUPPORTED_VERSION, state=FinalState.FAILURE, detail=str(error)
            )
        again = Outcome(None, detail=str(error), retry_in_s=_LEFT_TO_OTHERS_S)
        self._store.release(claim.lease, due_in_s=_LEFT_TO_OTHERS_S, steps=[again.step])
        return again

    def _deliver_kept(
        self, claim: Claimed, envelope: Envelope, answer: str, thought: Thought
    ) -> Outcome:
        try:
            replies = replies_from_json(self._sealer.unseal_text(answer))
        except SealError as error:
            return self._sealed(claim, error)
        except ValueError as error:  # kept by a later release
            return self._late.keep(
                claim, Reason.UNSUPPORTED_VERSION, state=FinalState.FAILURE, detail=str(error)
            )
        if claim.rerun:
            return self._send_after_all(claim, envelope, replies)
        return self._deliver(claim, envelope, replies, thought)

    def _deliver(
        self,
        claim: Claimed,
        envelope: Envelope,
        replies: Sequence[Reply],
        thought: Thought,
        *,
        if_expired: Reason = Reason.EXPIRED_AT_SEND,
        kept: Kept | None = None,
    ) -> Outcome:
        """Send what the card of the answer, if it has one, does not carry.

        An answer that is ``kept`` only by this is kept before anything of it is sent.
        """
        if kept is not None and thought.card is not None:
            self._keep(claim, kept)
            kept = None
        carried = thought.carry(claim, envelope, replies)
        if isinstance(carried, Outcome):
            return carried
        return self._delivery.deliver(carried, envelope, replies, if_expired=if_expired, kept=kept)

    def _think(self, claim: Claimed, envelope: Envelope, thought: Thought) -> Outcome:
        refusal = self._refusal(claim, envelope, thought) or self._without_content(claim, envelope)
        if refusal is not None:
            return refusal
        queued_s = self._age_s(envelope)
        handover = self._handover if claim.others_kept else None
        if handover is not None and not self._is_over(envelope):
            handover.deliver(envelope)
        envelope = self._commands.begun_anew(envelope)
        command = self._commands.find(envelope)
        if command is not None and command.built_in is not None:
            outcome = self._obey(claim, envelope, command, command.built_in)
        elif command is not None:
            asked = (self._commands.runner_of(envelope, command), command.words)
            outcome = self._ask(claim, envelope, thought, asked).with_facts(command=command.name)
        elif self._is_readable(envelope):
            outcome = self._ask(claim, envelope, thought)
        else:
            outcome = self._decline(claim, envelope)
        # An operator's second run says nothing about the queue.
        return outcome if claim.rerun else outcome.with_facts(queued_s=queued_s)

    def _ask(
        self,
        claim: Claimed,
        envelope: Envelope,
        thought: Thought,
        command: tuple[Runner, str] | None = None,
    ) -> Outcome:
        ended = self._asking.ask(claim, envelope, thought, command)
        if isinstance(ended, Outcome):
            return ended
        kept = self._kept(ended.replies, ended.steps, ended.exchange)
        claim = replace(claim, attempts=0)  # from now on those of the delivery
        if claim.rerun:
            self._keep(claim, kept)
            outcome = self._send_after_all(claim, envelope, ended.replies)
        else:
            outcome = self._deliver(
                claim,
                envelope,
                ended.replies,
                thought,
                if_expired=Reason.EXPIRED_RUNNING,
                kept=kept,
            )
        return outcome.with_facts(**ended.facts)

    def _kept(
        self, replies: Sequence[Reply], steps: Sequence[Step], exchange: Exchange | None = None
    ) -> Kept:
        return Kept(self._sealer.seal_text(replies_to_json(replies)), steps, exchange)

    def _keep(self, claim: Claimed, kept: Kept) -> None:
        self._store.keep_answer(claim.lease, kept.answer, kept.steps, exchange=kept.exchange)

    def _send_after_all(
        self, claim: Claimed, envelope: Envelope, replies: Sequence[Reply]
    ) -> Outcome:
        """Deliver what an operator had made anew, by the best way there is now."""
        if claim.in_doubt:
            detail = "it may have arrived: its worker ended in the middle of a post"
            return self._late.keep(claim, Reason.EXPIRED_AT_SEND, detail=detail)
        with self._heartbeat.sending(claim.lease):
            try:
                sent = self._resender.send(claim.lease, envelope, replies, sent=claim.sent)
            except NotSentError as error:
                in_doubt = isinstance(error, InDoubtError)
                return self._late.keep(
                    replace(claim, in_doubt=in_doubt),
                    Reason.EXPIRED_AT_SEND,
                    errcode=error.errcode,
                    detail=str(error),
                )
            is_webhook = sent.route is Route.WEBHOOK
            state = FinalState.SUCCESS if is_webhook else FinalState.RESCUED
            outcome = Outcome(state, facts={"outcome": "rerun", **sent.facts})
            self._store.finish(claim.lease, state, [outcome.step])
        return outcome

    def _refusal(self, claim: Claimed, envelope: Envelope, thought: Thought) -> Outcome | None:
        """Everything that makes running the agent a waste."""
        try:
            self._bots.of(envelope)
        except UnknownBotError as error:
            return self._late.keep(claim, Reason.NO_ROUTE, detail=str(error))
        if claim.takeovers >= _MAX_TAKEOVERS:
            detail = f"its worker died {claim.takeovers} times"
            told: tuple[Step, ...] = ()
            if self._apology is not None:
                told = self._apology.told(claim, envelope, thought, FAILED)
            return self._late.keep(
                claim, Reason.AGENT_FAILED, state=FinalState.FAILURE, detail=detail, steps=told
            )
        if envelope.session_webhook is not None:
            try:
                self._hosts.check(envelope.session_webhook)
            except WebhookNotAllowedError as error:
                return self._late.keep(
                    claim, Reason.WEBHOOK_NOT_ALLOWED, state=FinalState.FAILURE, detail=str(error)
                )
        if claim.rerun:
            return None
        if self._is_over(envelope):
            return self._late.apply(claim, envelope, Reason.EXPIRED_IN_QUEUE)
        if claim.crowded:
            self._delivery.notify(envelope, CROWDED.in_(self._bots.language_of(envelope)))
            return self._late.apply(claim, envelope, Reason.TOO_MANY_WAITING)
        return None

    def _without_content(self, claim: Claimed, envelope: Envelope) -> Outcome | None:
        """Leave a message to the operator whose words DingTalk held back; the person was told."""
        if envelope.error_code != QUOTA_USED_UP or Message.of(envelope).has_content:
            return None
        return self._late.keep(
            claim,
            Reason.QUOTA_USED_UP,
            state=FinalState.FAILURE,
            errcode=envelope.error_code,
            detail="DingTalk sent no content: the organisation's monthly quota is used up",
        )

    def _is_readable(self, envelope: Envelope) -> bool:
        is_own = envelope.kind in self._bots.of(envelope).runner.reads
        return is_own or Message.of(envelope).is_readable

    def _decline(self, claim: Claimed, envelope: Envelope) -> Outcome:
        """Say that nobody can read this."""
        told = Step("declined", {"kind": envelope.kind})
        return self._answer_ourselves(
            claim, envelope, UNSUPPORTED.in_(self._bots.language_of(envelope)), told, "unsupported"
        )

    def _obey(
        self, claim: Claimed, envelope: Envelope, command: Command, built_in: BuiltIn
    ) -> Outcome:
        language = self._bots.language_of(envelope)
        words = self._commands.obey(built_in, envelope, language)
        told = Step("command", {"command": command.name})
        return self._answer_ourselves(claim, envelope, words, told, "command")

    def _answer_ourselves(
        self, claim: Claimed, envelope: Envelope, words: str, told: Step, as_what: str
    ) -> Outcome:
        """Answer without the agent; kept and sent as every other answer."""
        replies = [Text(content=words)]
        kept = self._kept(replies, [told])
        if claim.rerun:
            self._keep(claim, kept)
            return self._send_after_all(claim, envelope, replies)
        outcome = self._delivery.deliver(claim, envelope, replies, kept=kept)
        if outcome.state is not FinalState.SUCCESS:
            return outcome
        return outcome.with_facts(outcome=as_what)

    def _is_over(self, envelope: Envelope) -> bool:
        return is_over(envelope, self._clock())

    def _age_s(self, envelope: Envelope) -> float:
        return round((self._clock() - envelope.received_at).total_seconds(), 3)

    def _say(self, outcome: Outcome, task_id: str, data: dict[str, Any]) -> None:
        self._observe(outcome)
        log_outcome(outcome, task_id, data)


def _read(data: object) -> Envelope | None:
    """Read what a task carried, once for all that ask; None of what is no envelope of this release.

    What is private in it may be sealed.
    """
    try:
        return Envelope.from_wire(data)
    except EnvelopeError:
        return None
