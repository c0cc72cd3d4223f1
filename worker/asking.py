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
from worker.agents.context import Context
from worker.agents.quoted_files import QuotedFiles
from worker.agents.results import addressed, replies_of
from worker.agents.runner import AgentFailedError, AgentTimeoutError
from worker.bots import Bots, Runner
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.late import LateReplies
from worker.sending.uploading import Uploading
from worker.store import Claimed, Reason, Step
from worker.story import agent_steps
from worker.thinking import Thought
from worker.timing import is_over, spare_s

__all__ = ["Answer", "Asking"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What an agent answered within ``agent_s``: at least one reply, and all media uploaded."""

    replies: Sequence[Reply]
    agent_s: float

    @property
    def steps(self) -> tuple[Step, ...]:
        """How the story goes on by it."""
        return agent_steps(self.agent_s, "answered")

    @property
    def facts(self) -> dict[str, Any]:
        """What the outcome tells of it."""
        text_chars = sum(len(words_of(reply)) for reply in self.replies)
        return {"agent_s": self.agent_s, "text_chars": text_chars}


class Asking:
    """Asks the agents of all bots; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        bots: Bots,
        uploading: Uploading,
        late: LateReplies,
        files: AttachmentFiles,
        clock: Callable[[], datetime],
        sealer: Sealer,
    ) -> None:
        """Prepare.

        Args:
            store: What is remembered.
            bots: Each with its agent.
            uploading: Makes media ready to be kept.
            late: What becomes of a message without an answer.
            files: Where the files are that agents ask for.
            clock: Ours, aware UTC.
            sealer: Seals the codes of files, and opens them.
        """
        self._store, self._bots = store, bots
        self._uploading, self._late, self._files = uploading, late, files
        self._quoted_files = QuotedFiles(store, sealer)
        self._clock = clock

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
            AgentStoppedError: It was called off.
            LeaseLostError: Another worker has the message.
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
        started = time.monotonic()
        try:
            bot = self._bots.of(envelope)
            context = self._context(claim, envelope, message, limit_s, runner.settings)
            with contextlib.closing(context), thought.running(limit_s) as on_piece:
                result = runner.run(message, context=context, limit_s=limit_s, on_piece=on_piece)
            replies = replies_of(result)
        except AgentTimeoutError:
            agent_s = round(time.monotonic() - started, 3)
            steps = agent_steps(agent_s, "timeout")
            return self._overran(claim, envelope, steps).with_facts(agent_s=agent_s)
        except AgentFailedError as error:
            agent_s = round(time.monotonic() - started, 3)
            steps = agent_steps(agent_s, "failed")
            return self._failed(claim, envelope, error, steps).with_facts(agent_s=agent_s)
        agent_s = round(time.monotonic() - started, 3)
        if not replies:
            return self._silent(claim, agent_s)
        if bot.settings.reply_at_sender:
            replies = addressed(replies, envelope)
        left_s = spare_s(envelope, self._clock())
        return Answer(self._uploading.ready(replies, envelope, spare_s=left_s), agent_s)

    def _context(
        self, claim: Claimed, envelope: Envelope, message: Message, limit_s: float, settings: Any
    ) -> Context[Any]:
        end = time.monotonic() + limit_s
        return Context(
            message,
            settings=settings,
            left_s=lambda: end - time.monotonic(),
            cancellation=Cancellation(),
            log_fields={"task_id": claim.lease.task_id},
        )

    def _silent(self, claim: Claimed, agent_s: float) -> Outcome:
        silent = Outcome(FinalState.SUCCESS, facts={"outcome": "silent", "agent_s": agent_s})
        steps = (*agent_steps(agent_s, "silent"), silent.step)
        self._store.finish(claim.lease, FinalState.SUCCESS, steps)
        return silent

    def _overran(self, claim: Claimed, envelope: Envelope, steps: Sequence[Step]) -> Outcome:
        if is_over(envelope, self._clock()) and not self._late.is_answer_wanted:
            return self._late.apply(claim, envelope, Reason.EXPIRED_RUNNING, steps=steps)
        return self._late.keep(
            claim,
            Reason.AGENT_TIMEOUT,
            state=FinalState.FAILURE,
            detail=f"no reply within {self._timeout_s(envelope):g} s",
            steps=steps,
        )

    def _failed(
        self, claim: Claimed, envelope: Envelope, error: AgentFailedError, steps: Sequence[Step]
    ) -> Outcome:
        logger.error(
            "agent failed: %s\n%s",
            error.detail,
            error.frames,
            extra={"action": "agent_failed", "message_id": envelope.message_id},
        )
        return self._late.keep(
            claim,
            Reason.AGENT_FAILED,
            state=FinalState.FAILURE,
            detail=error.detail,
            steps=steps,
        )

    def _limit_s(self, envelope: Envelope) -> float:
        """A late answer is worth waiting for when it will be kept or rescued."""
        left_s = spare_s(envelope, self._clock())
        if left_s is None or self._late.is_answer_wanted:
            return self._timeout_s(envelope)
        return min(self._timeout_s(envelope), max(left_s, 0.001))

    def _timeout_s(self, envelope: Envelope) -> float:
        return self._bots.of(envelope).settings.agent_timeout_s
