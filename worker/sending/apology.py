"""The one line a person is told whose message gets no answer, because its agent failed.

Called by ``worker/asking.py``, and by ``worker/answering.py`` for a message that kills its workers,
before the missed reply is kept. Best effort, and once a message, however often it is run.
"""

import logging
from collections.abc import Callable

from contract.envelope import Envelope
from worker.leases import Heartbeat
from worker.patience import PatientStore
from worker.store import Claimed, LeaseLostError, Step, StoreError
from worker.thinking import Thought
from worker.words import Language, Phrase

__all__ = ["Apology"]

logger = logging.getLogger(__name__)

_KIND = "failed_notice"
# Longer than any message is worked on.
_REMEMBERED_S = 86_400.0
# With less until the deadline a post may be too late.
_LEAST_S = 3.0


class Apology:
    """Tells people; one for all messages of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        say: Callable[[Envelope, str], object],
        spare_s: Callable[[Envelope], float | None],
        is_wanted: Callable[[Envelope], bool],
        language_of: Callable[[Envelope], Language],
        heartbeat: Heartbeat,
    ) -> None:
        """Prepare.

        Args:
            store: Knows who was told.
            say: Posts a text to where a message came from; handles its own errors.
            spare_s: What is left until a message's deadline; None without one.
            is_wanted: Whether the message's bot says it at all.
            language_of: In which language.
            heartbeat: Knows whether a message is still ours.
        """
        self._store, self._say, self._spare_s = store, say, spare_s
        self._is_wanted, self._language_of = is_wanted, language_of
        self._heartbeat = heartbeat

    def told(
        self, claim: Claimed, envelope: Envelope, thought: Thought, phrase: Phrase
    ) -> tuple[Step, ...]:
        """Tell the person, by the card that shows the answer so far if there is one.

        Returns:
            How the story goes on by it; nothing when nobody was told.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        if claim.rerun or not self._is_wanted(envelope) or not self._is_time(envelope):
            return ()
        words = phrase.in_(self._language_of(envelope))
        with self._heartbeat.sending(claim.lease):
            if not self._heartbeat.confirms(claim.lease):  # it was stopped just now, for one
                raise LeaseLostError(claim.lease.task_id)
            if not self._is_first(claim):
                return ()
            if thought.failed(words):
                return (Step("notice", {"route": "card"}),)
            if envelope.session_webhook is None:
                return ()
            self._say(envelope, words)
        return (Step("notice", {"route": "webhook"}),)

    def _is_time(self, envelope: Envelope) -> bool:
        left_s = self._spare_s(envelope)
        return left_s is None or left_s >= _LEAST_S

    def _is_first(self, claim: Claimed) -> bool:
        try:
            return self._store.is_first(_KIND, claim.lease.task_id, within_s=_REMEMBERED_S)
        except StoreError as error:
            logger.debug("nobody is told of a failure, as the store is away: %s", error)
            return False
