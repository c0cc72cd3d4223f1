"""How a request to the server is signed, so that it knows who asks: as Standard Webhooks has it.

HMAC-SHA256 over ``id.timestamp.body``, in three headers. There are libraries that verify it for
most languages, and docs/included-agents.md shows it without one.

Source: Standard Webhooks 1.0, https://github.com/standard-webhooks/standard-webhooks.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

__all__ = ["ID", "SIGNATURE", "TIMESTAMP", "keys_in", "signed"]

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"

_PREFIX = "whsec_"
_MIN_BYTES = 16


def keys_in(secrets: str) -> list[bytes]:
    """Return the keys of ``HTTP_AGENT_SECRET``.

    Args:
        secrets: One, or several with commas between them. One that begins with ``whsec_`` goes on
            in base64; any other is a key as it stands, in UTF-8.

    Raises:
        ValueError: One is no key, or so short that it can be guessed; the text does not show it.
    """
    return [_key(each.strip()) for each in secrets.split(",") if each.strip()]


def _key(secret: str) -> bytes:
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {_PREFIX} must be base64") from None
    if len(key) < _MIN_BYTES:
        raise ValueError(f"must have {_MIN_BYTES} bytes or more")
    return key


def signed(keys: Sequence[bytes], *, id_: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        keys: One signature is made with each; without any the request is not signed.
        id_: The same when the same message is asked again.
        at_s: Unix time; a server refuses what is older than five minutes, as somebody may repeat
            what they overheard.
        body: As it is sent, to the byte.
    """
    headers = {ID: id_, TIMESTAMP: str(at_s)}
    signatures = [_signature(key, b".".join([id_.encode(), b"%d" % at_s, body])) for key in keys]
    return headers | ({SIGNATURE: " ".join(signatures)} if signatures else {})


def _signature(key: bytes, content: bytes) -> str:
    made = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())
    return f"v1,{made.decode()}"
