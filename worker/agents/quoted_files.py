"""The codes of files that are quoted later: DingTalk mostly leaves them out of a quote.

``worker/asking.py`` has the codes of each message noted in the store, sealed if there is a key,
under its bot, conversation and id; whoever quotes it there within a day gets the files.
"""

import json
import logging
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from contract.content import Attachment
from contract.envelope import Earlier, Envelope
from contract.sealing import Sealer, SealError
from worker.store import Note, StoreError
from worker.store.records import key_of

__all__ = ["QuotedFiles"]

logger = logging.getLogger(__name__)

KIND = "attachments"
KEPT_S = 24 * 3600.0

_MEDIA = frozenset({"picture", "audio", "video", "file"})
_attachments = TypeAdapter(tuple[Attachment, ...])


class Notes(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep facts."""

    def recalled(self, kind: str, key: str) -> Note | None:
        """Return them."""


class QuotedFiles:
    """Notes codes, and finds them again; what the store cannot do now is left out."""

    def __init__(self, store: Notes, sealer: Sealer) -> None:
        """Prepare."""
        self._store, self._sealer = store, sealer

    def note(self, envelope: Envelope) -> None:
        """Keep the codes that the messages of a turn came with."""
        turn: tuple[Earlier | Envelope, ...] = (*envelope.earlier, envelope)
        for each in turn:
            coded = [code.model_dump() for code in each.attachments if code.download_code]
            if not coded:
                continue
            facts = {"attachments": self._sealer.seal_text(json.dumps(coded))}
            try:
                self._store.remember(KIND, _key(envelope, each.message_id), facts, ttl_s=KEPT_S)
            except StoreError as error:
                logger.debug("the codes of a message were not noted: %s", error)

    def completed(self, envelope: Envelope) -> Envelope:
        """Return the message with the codes of what it quotes, as far as they are known."""
        quoted = envelope.quoted
        if quoted is None or not quoted.message_id:
            return envelope
        lacks_some = any(not each.download_code for each in quoted.attachments)
        if not lacks_some and (quoted.attachments or quoted.kind not in _MEDIA):
            return envelope
        found = self._found(_key(envelope, quoted.message_id))
        if not found:
            return envelope
        whole = quoted.model_copy(update={"attachments": found})
        return envelope.model_copy(update={"quoted": whole})

    def _found(self, key: str) -> tuple[Attachment, ...]:
        try:
            note = self._store.recalled(KIND, key)
            if note is None:
                return ()
            text = self._sealer.unseal_text(str(note.facts.get("attachments", "")))
            return _attachments.validate_json(text)
        except (StoreError, SealError, ValidationError) as error:
            logger.debug("the codes of a quote were not found: %s", type(error).__name__)
            return ()


def _key(envelope: Envelope, message_id: str) -> str:
    """Name a message of this conversation and bot; nobody quotes into another."""
    return key_of(f"{envelope.bot}\n{envelope.conversation_id}\n{message_id}")
