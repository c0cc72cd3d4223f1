"""Tells people who may not talk to the bot whom they are to name when they ask for access.

Called by ``worker/tasks.py`` for the report of a listener with ``DENIED_NOTICE``, which neither
posts anything itself nor knows what other listeners have told.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from contract.envelope import Conversation, Envelope, EnvelopeError
from contract.report import Denied
from contract.sealing import Sealer, SealError
from dingwire.errors import WebhookError
from dingwire.replies import Reply, Text
from worker.timing import is_over
from worker.words import DENIED_GROUP, DENIED_SENDER, Language

__all__ = ["Denials", "Firsts", "Notifier"]

logger = logging.getLogger(__name__)

_KIND = "denied_notice"
EVERY_S = 3600.0


class Firsts(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """Return whether nobody else was told True within the time."""


class Notifier(Protocol):
    """The part of :class:`worker.sending.carrying.Carrier` that is used here."""

    def notify(self, envelope: Envelope, words: Reply) -> None:
        """Post by its webhook, or raise a :class:`WebhookError`."""


class Denials:
    """Tells them, each once an hour."""

    def __init__(
        self,
        store: Firsts,
        notifier: Notifier,
        *,
        clock: Callable[[], datetime],
        sealer: Sealer,
        language_of: Callable[[Envelope, str], Language],
    ) -> None:
        self._store, self._notifier = store, notifier
        self._clock, self._sealer, self._language_of = clock, sealer, language_of

    def tell(self, denied: Denied) -> bool:
        """Post the notice; False when there is nobody to tell, or they were told.

        Raises:
            StoreError: It is not known whether they were told.
        """
        envelope = self._envelope(denied)
        if envelope is None or not envelope.sender_staff_id:
            return False
        if envelope.session_webhook is None or is_over(envelope, self._clock()):
            return False
        key = f"{envelope.bot}\n{envelope.sender_staff_id}"
        if not self._store.is_first(_KIND, key, within_s=EVERY_S):
            return False
        identity = {
            "message_id": envelope.message_id,
            "conversation_id": envelope.conversation_id,
            "sender_staff_id": envelope.sender_staff_id,
        }
        try:
            self._notifier.notify(envelope, self._notice(denied, envelope))
        except WebhookError as error:
            logger.warning(
                "a notice did not arrive: %s", error, extra={"action": "notice_failed", **identity}
            )
            return False
        logger.info(
            "told somebody who was denied how to ask for access",
            extra={"action": "denied_told", "reason": denied.reason, **identity},
        )
        return True

    def _envelope(self, denied: Denied) -> Envelope | None:
        try:
            return Envelope.from_wire(self._sealer.unseal(denied.envelope))
        except (SealError, EnvelopeError) as error:
            logger.warning(
                "a notice cannot be written: %s", error, extra={"action": "notice_failed"}
            )
            return None

    def _notice(self, denied: Denied, envelope: Envelope) -> Text:
        staff_id = envelope.sender_staff_id or ""
        phrase = DENIED_GROUP if denied.reason == "group" else DENIED_SENDER
        content = phrase.in_(
            self._language_of(envelope, denied.written_in),
            staff_id=staff_id,
            conversation_id=envelope.conversation_id,
        )
        if envelope.conversation is Conversation.GROUP:
            with suppress(ValueError):  # an id that nobody can be mentioned by
                return Text(content=content, at_user_ids=(staff_id,))
        return Text(content=content)
