"""What the agent reads: where the server is, and what it is asked with."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from contract.settings import CommaSeparated, read_json
from dingwire.http import is_loopback
from worker.agents.agent_settings import AgentSettings
from worker.agents.http.signing import keys_in

__all__ = ["HttpAgentSettings"]

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_OURS = ("accept", "connection", "content-", "host", "transfer-encoding", "webhook-")


class HttpAgentSettings(AgentSettings, env_prefix="HTTP_AGENT_"):
    """Of ``worker.agents.http:agent``."""

    url: str = Field(description="Where messages are posted to.")
    secret: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="Signs what is posted; with several, comma separated, one signature for each. "
        "Needed unless the server is on this machine.",
    )
    headers: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(read_json)] = Field(
        default_factory=dict, description='More headers, as JSON: {"Authorization": "Bearer …"}.'
    )
    reads: CommaSeparated = Field(
        default=(),
        description="Kinds of message that the server reads by itself, from raw, comma separated; "
        "of what else is without content it is not asked.",
    )
    files_mb: float = Field(
        default=0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Files of a message go with it, in base64, up to so many MB together; 0: none.",
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port  # the port is read, and checked, only now
        except ValueError:
            raise ValueError("cannot be read as an address") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("must start with https:// or http:// and name a host")
        if "@" in parts.netloc:
            raise ValueError("must hold no password: give it as a header")
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(secret.get_secret_value()):
                raise ValueError("names and values must be those of HTTP headers, in ASCII")
            if name.lower().startswith(_OURS):
                raise ValueError(f"{name} is set by the agent itself")
        return value

    @field_validator("secret")
    @classmethod
    def _keys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and keys_in(value.get_secret_value()):
            return value
        if "url" in info.data and not _is_local(info.data["url"]):
            raise ValueError("needed, as the server is not on this machine")
        return None

    @property
    def signing_keys(self) -> list[bytes]:
        """What requests are signed with; none: they are not."""
        return [] if self.secret is None else keys_in(self.secret.get_secret_value())

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return _is_local(self.url)


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
