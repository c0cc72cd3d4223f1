"""A message's private half, encrypted on its way and where it is kept.

The listener seals an envelope before it leaves the process (``listener/task_message.py``), so that
broker, spool and store hold the sealed form; the worker opens it when it is about to work on the
message (``worker/answering.py``). What is needed to route, order and judge a message stays in
clear. ``ENVELOPE_KEY`` holds the keys; without one nothing is sealed.
"""

import hashlib
import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from contract.envelope import Earlier, Envelope

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["IN_CLEAR", "SealError", "Sealer"]

MAKE_A_KEY = (
    'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)

_SEALED = "sealed"  # the field that holds the token; also an entry's of ``earlier``
_PREFIX = "sealed:"  # of a text; a kept answer in clear is JSON, so none begins like this
# Everything else is private, a field that only a later release knows included.
_CLEAR = frozenset(name for name, field in Envelope.model_fields.items() if field.repr)


class SealError(ValueError):
    """Something is sealed that this process has no key for; the text shows no value."""


class Sealer:
    """Seals and opens; one for a process, safe to share between threads."""

    def __init__(self, fernet: "MultiFernet | None", fingerprint: str | None = None) -> None:
        """Prepare; see :meth:`from_setting`.

        Args:
            fernet: Of all keys; None seals nothing.
            fingerprint: Tells whether two processes seal with the same key, and nothing of the
                key; None without one.
        """
        self._fernet = fernet
        self.fingerprint = fingerprint

    @classmethod
    def from_setting(cls, keys: str | None) -> "Sealer":
        """Read ``ENVELOPE_KEY``: Fernet keys, comma separated, the newest first.

        Everything is sealed with the first one; what any of them sealed can be opened. None seals
        nothing.

        Raises:
            ValueError: One of them is no key, or the package for it is missing.
        """
        if keys is None:
            return cls(None)
        texts = [key for key in (part.strip() for part in keys.split(",")) if key]
        if not texts:
            raise ValueError(f"holds no key; make one with {MAKE_A_KEY}")
        try:
            # Here, because a listener without a key must not pay for it.
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError:
            raise ValueError(
                "needs the package cryptography: pip install 'celery-dingtalk[sealed]'"
            ) from None
        fernets = []
        for number, text in enumerate(texts, start=1):
            try:
                fernets.append(Fernet(text))
            except ValueError:
                raise ValueError(
                    f"key {number} is not a Fernet key: 32 bytes in URL-safe base64; "
                    f"make one with {MAKE_A_KEY}"
                ) from None
        return cls(MultiFernet(fernets), _fingerprint(texts[0]))

    @property
    def is_sealing(self) -> bool:
        """Whether there is a key to seal with."""
        return self._fernet is not None

    def seal(self, wire: dict[str, Any], in_clear: Collection[str] = _CLEAR) -> dict[str, Any]:
        """Return an envelope's JSON object with its private fields in one token.

        Without a key, and when it is sealed already, it is returned as it is.

        Args:
            wire: The object.
            in_clear: Names of the fields that are not private; those of an envelope if left out.
        """
        if self._fernet is None or _SEALED in wire:
            return wire
        clear = {name: value for name, value in wire.items() if name in in_clear}
        private = {name: value for name, value in wire.items() if name not in in_clear}
        if wire.get("earlier"):
            clear["earlier"] = [_seal_earlier(self._fernet, entry) for entry in wire["earlier"]]
        return {**clear, _SEALED: _close(self._fernet, private)}

    def unseal(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Undo :meth:`seal`; what is in clear is returned as it is.

        Raises:
            SealError: No key opens it.
        """
        opened = wire
        if _SEALED in wire:
            clear = {name: value for name, value in wire.items() if name != _SEALED}
            opened = {**self._fields(wire[_SEALED]), **clear}
        earlier = wire.get("earlier")
        if isinstance(earlier, list | tuple) and any(_is_sealed(entry) for entry in earlier):
            opened = {**opened, "earlier": [self._unseal_earlier(entry) for entry in earlier]}
        return opened

    def seal_text(self, text: str) -> str:
        """Return a text, such as a kept answer, sealed; as it is without a key."""
        if self._fernet is None or text.startswith(_PREFIX):
            return text
        return _PREFIX + _close(self._fernet, text)

    def unseal_text(self, text: str) -> str:
        """Undo :meth:`seal_text`; a text in clear is returned as it is.

        Raises:
            SealError: No key opens it.
        """
        if not text.startswith(_PREFIX):
            return text
        return str(self._open(text.removeprefix(_PREFIX)))

    def _unseal_earlier(self, entry: Any) -> Any:
        """Open one message that was merged, of which its whole private half was kept."""
        if not _is_sealed(entry):
            return entry
        private = self._fields(entry[_SEALED])
        kept = {name: private[name] for name in Earlier.model_fields if name in private}
        return {**kept, "message_id": entry.get("message_id")}

    def _fields(self, token: object) -> dict[str, Any]:
        fields = self._open(token)
        if not isinstance(fields, dict):
            raise SealError("sealed, but no message")
        return fields

    def _open(self, token: object) -> Any:
        if self._fernet is None:
            raise SealError(
                "sealed, and ENVELOPE_KEY is not set here: give this process the listener's keys"
            )
        from cryptography.fernet import InvalidToken

        try:
            return json.loads(self._fernet.decrypt(str(token).encode("utf-8", "replace")))
        except InvalidToken:
            raise SealError(
                "sealed with a key that is not in ENVELOPE_KEY here: add that key, "
                "comma separated, behind the newest"
            ) from None


IN_CLEAR = Sealer(None)
"""Seals nothing."""


def _fingerprint(key: str) -> str:
    return hashlib.sha256(f"celery-dingtalk envelope key\n{key}".encode()).hexdigest()[:8]


def _is_sealed(entry: object) -> bool:
    return isinstance(entry, dict) and _SEALED in entry


def _seal_earlier(fernet: "MultiFernet", entry: dict[str, Any]) -> dict[str, Any]:
    if _is_sealed(entry):
        return entry
    private = {name: value for name, value in entry.items() if name != "message_id"}
    return {"message_id": entry.get("message_id"), _SEALED: _close(fernet, private)}


def _close(fernet: "MultiFernet", value: object) -> str:
    # ASCII, as what a person wrote may hold half a surrogate pair.
    return fernet.encrypt(json.dumps(value).encode()).decode()
