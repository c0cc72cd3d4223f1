"""The agent's part of a message: it is run, and its end is an answer or an outcome.

Called by ``worker/answering.py``, which keeps and delivers the answer. What ends without one is
finished here.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from contract.envelope import Envelope
from contract.sealing import Sealer
from dingwire.replies import Reply, words_of
from worker.agents.attachment_files import AttachmentFiles
from worker.agents.base import Message
from worker.agents.cancelling import Cancellation
from worker.agents.context import Context, Retry
from worker.agents.quoted_files import QuotedFiles
from worker.agents.results import addressed, replies_of
from worker.agents.runner import AgentFailedError, AgentRetryError, AgentTimeoutError
from worker.agents.usage import summed
from worker.bots import Bots, Runner
from worker.leases import Heartbeat
from worker.memory import Memory
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.apology import Apology
from worker.sending.late import LateReplies
from worker.sending.saying import Saying, Speaker
from worker.sending.uploading import Uploading
from worker.store import Claimed, Exchange, Reason, Step
from worker.story import agent_steps
from worker.thinking import Thought
from worker.timing import is_over, spare_s
from worker.words import FAILED, TOO_SLOW

__all__ = ["Answer", "Asking", "Run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of an agent: what it took, used of models, and said before its end."""

    agent_s: float
    said: Sequence[Step] = ()
    usage: Sequence[dict[str, Any]] = ()

    def steps(self, outcome: str) -> tuple[Step, ...]:
        """Return how the story goes on by it."""
        started, ended = agent_steps(self.agent_s, outcome, self.usage)
        return started, *self.said, ended

    @property
    def facts(self) -> dict[str, Any]:
        """What the outcome tells of it."""
        used = {"usage": list(self.usage)} if self.usage else {}
        return {"agent_s": self.agent_s, **used}


@dataclass(frozen=True)
class Answer:
    """What an agent answered in a run: at least one reply, and all media uploaded.

    ``exchange`` is what is to be remembered of it; None when memory is off.
    """

    replies: Sequence[Reply]
    run: Run
    exchange: Exchange | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """How the story goes on by it."""
        return self.run.steps("answered")

    @property
    def facts(self) -> dict[str, Any]:
        """What the outcome tells of it."""
        text_chars = sum(len(words_of(reply)) for reply in self.replies)
        return {**self.run.facts, "text_chars": text_chars}


class Asking:
    """Asks the agents of all bots; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        bots: Bots,
        uploading: Uploading,
        late: LateReplies,
        saying: Saying,
        apology: Apology,
        heartbeat: Heartbeat,
        files: AttachmentFiles,
        memory: Memory,
        clock: Callable[[], datetime],
        sealer: Sealer,
    ) -> None:
        """Prepare.

        Args:
            store: What is remembered.
            bots: Each with its agent.
            uploading: Makes media ready to be kept.
            late: What becomes of a message without an answer.
            saying: Sends what agents say before their answers.
            apology: Tells people that there is none.
            heartbeat: Tells when a message is not ours any more.
            files: Where the files are that agents ask for.
            memory: What was said before.
            clock: Ours, aware UTC.
            sealer: Seals the codes of files, and opens them.
        """
        self._store, self._bots = store, bots
        self._uploading, self._late, self._files = uploading, late, files
        self._saying, self._apology = saying, apology
        self._quoted_files, self._memory = QuotedFiles(store, sealer), memory
        self._heartbeat, self._clock = heartbeat, clock

    def ask(
        self,
        claim: Claimed,
        envelope: Envelope,
        thought: Thought,
        command: tuple[Runner, str] | None = None,
    ) -> Answer | Outcome:
        """Run the agent, or a command of the bot's own in its place.

        Args:
            claim: Ours; finished by this unless there is an answer.
            envelope: In clear, of a bot of ours.
            thought: Shows what the agent yields.
            command: What runs instead, and the words that it is given.

        Raises:
            AgentCancelledError: This process is ending.
            AgentStoppedError: It was called off, as the message is not ours any more.
            LeaseLostError: Another worker has the message.
            StoreUnavailableError: The process stops while the store is away.
        """
        limit_s = self._timeout_s(envelope) if claim.rerun else self._limit_s(envelope)
        self._quoted_files.note(envelope)
        with self._files.of(envelope, within_s=limit_s) as files:
            message = Message.of(self._quoted_files.completed(envelope), files.fetch)
            if claim.rerun:
                message = replace(message, deadline=None)
            runner = self._bots.of(envelope).runner
            if command is not None:
                runner, words = command
                message = replace(message, text=words)
            return self._answered(claim, envelope, message, limit_s, thought, runner)

    def _answered(
        self,
        claim: Claimed,
        envelope: Envelope,
        message: Message,
        limit_s: float,
        thought: Thought,
        runner: Runner,
    ) -> Answer | Outcome:
        started, bot = time.monotonic(), self._bots.of(envelope)
        cancellation = Cancellation()

        def remaining_s() -> float:
            """Until the deadline too: a late answer is kept, and a timely one is better."""
            of_agent = started + limit_s - time.monotonic()
            of_message = None if claim.rerun else spare_s(envelope, self._clock())
            return of_agent if of_message is None else min(of_agent, of_message)

        speaker = self._saying.about(claim, envelope, cancellation)
        context: Context[Any] = Context(
            message,
            settings=runner.settings,
            history=self._memory.recalled(envelope),
            left_s=remaining_s,
            cancellation=cancellation,
            say=speaker.say,
            progress=thought.progress,
            log_fields={"task_id": claim.lease.task_id},
        )
        try:
            with (
                contextlib.closing(context),
                self._heartbeat.when_lost(claim.lease, cancellation.cancel),
                speaker,
                thought.running(limit_s) as on_piece,
            ):
                result = runner.run(message, context=context, limit_s=limit_s, on_piece=on_piece)
            replies = replies_of(result)
        except AgentTimeoutError:
            run = self._run(started, speaker, context)
            return self._overran(claim, envelope, thought, run).with_facts(**run.facts)
        except AgentFailedError as error:
            run = self._run(started, speaker, context)
            if isinstance(error, AgentRetryError):
                ended = self._again(claim, envelope, thought, error, run)
            else:
                ended = self._failed(claim, envelope, thought, error, run)
            return ended.with_facts(**run.facts)
        run = self._run(started, speaker, context)
        if not replies:
            return self._silent(claim, envelope, run)
        if bot.settings.reply_at_sender:
            replies = addressed(replies, envelope)
        left_s = spare_s(envelope, self._clock())
        ready = self._uploading.ready(replies, envelope, spare_s=left_s)
        return Answer(ready, run, self._memory.exchange(envelope, replies))

    @staticmethod
    def _run(started: float, speaker: Speaker, context: Context[Any]) -> Run:
        """Return the run that has just ended."""
        agent_s = round(time.monotonic() - started, 3)
        return Run(agent_s, speaker.steps(), summed(context.usage))

    def _silent(self, claim: Claimed, envelope: Envelope, run: Run) -> Outcome:
        silent = Outcome(FinalState.SUCCESS, facts={"outcome": "silent", **run.facts})
        steps = (*run.steps("silent"), silent.step)
        exchange = self._memory.exchange(envelope, ())
        self._store.finish(claim.lease, FinalState.SUCCESS, steps, exchange=exchange)
        return silent

    def _overran(self, claim: Claimed, envelope: Envelope, thought: Thought, run: Run) -> Outcome:
        steps = run.steps("timeout")
        if is_over(envelope, self._clock()) and not self._late.is_answer_wanted:
            return self._late.apply(claim, envelope, Reason.EXPIRED_RUNNING, steps=steps)
        told = self._apology.told(claim, envelope, thought, TOO_SLOW)
        return self._late.keep(
            claim,
            Reason.AGENT_TIMEOUT,
            state=FinalState.FAILURE,
            detail=f"no reply within {self._timeout_s(envelope):g} s",
            steps=[*steps, *told],
        )

    def _failed(
        self,
        claim: Claimed,
        envelope: Envelope,
        thought: Thought,
        error: AgentFailedError,
        run: Run,
    ) -> Outcome:
        logger.error(
            "agent failed: %s\n%s",
            error.detail,
            error.frames,
            extra={"action": "agent_failed", "message_id": envelope.message_id},
        )
        told = self._apology.told(claim, envelope, thought, FAILED)
        return self._late.keep(
            claim,
            Reason.AGENT_FAILED,
            state=FinalState.FAILURE,
            detail=error.detail,
            steps=[*run.steps("failed"), *told],
        )

    def _again(
        self,
        claim: Claimed,
        envelope: Envelope,
        thought: Thought,
        error: AgentRetryError,
        run: Run,
    ) -> Outcome:
        """Have another run, if the agent has one left and there is time; it keeps its turn."""
        most, runs = self._bots.of(envelope).settings.agent_retries, claim.attempts + 1
        left_s = None if claim.rerun else spare_s(envelope, self._clock())
        refusal = ""
        if runs > most:
            refusal = f"after {runs} {'run' if runs == 1 else 'runs'}: AGENT_RETRIES={most}"
        elif left_s is not None and error.after_s >= left_s:
            refusal = f"in {error.after_s:g} s, and {max(0.0, left_s):g} s were left"
        if refusal:
            why = "" if error.detail == Retry.__name__ else f"{error.detail}; "
            failure = AgentFailedError(f"{why}asked for another run {refusal}", error.frames)
            return self._failed(claim, envelope, thought, failure, run)
        again = Outcome(
            None,
            detail="the agent asks for another run",
            retry_in_s=round(error.after_s, 3),
            facts={"runs": runs},
        )
        self._store.release(
            claim.lease,
            due_in_s=error.after_s,
            attempts=runs,
            steps=[*run.steps("retry"), again.step],
        )
        return again

    def _limit_s(self, envelope: Envelope) -> float:
        """A late answer is worth waiting for when it will be kept or rescued."""
        left_s = spare_s(envelope, self._clock())
        if left_s is None or self._late.is_answer_wanted:
            return self._timeout_s(envelope)
        return min(self._timeout_s(envelope), max(left_s, 0.001))

    def _timeout_s(self, envelope: Envelope) -> float:
        return self._bots.of(envelope).settings.agent_timeout_s
