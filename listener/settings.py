"""What the listener reads; once, in ``__main__.py``."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from contract.bots import strip
from contract.settings import CommaSeparated, Settings

__all__ = ["ListenerSettings"]


class ListenerSettings(Settings):
    """The listener's settings: the shared ones, and whom it lets in."""

    client_id: Annotated[str, BeforeValidator(strip)] = Field(
        validation_alias="DINGTALK_CLIENT_ID",
        default="",
        validate_default=True,
        description="The bot's app key; required, unless there are tables of bots.",
    )
    client_secret: Annotated[SecretStr, BeforeValidator(strip)] = Field(
        validation_alias="DINGTALK_CLIENT_SECRET",
        default=SecretStr(""),
        validate_default=True,
        description="The app secret; required with the app key.",
    )
    allowed_users: CommaSeparated = Field(
        validation_alias="DINGTALK_ALLOWED_USERS",
        default=(),
        description="Staff ids that may write to the bot, comma separated; * is everybody, "
        "empty is nobody.",
    )
    reply_within_s: float | None = Field(
        validation_alias="REPLY_WITHIN_S",
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="A softer promise than the webhook's expiry, in seconds: a reply after it is "
        "posted with a note and counted as late.",
    )
    connections: int = Field(
        validation_alias="CONNECTIONS",
        default=1,
        ge=1,
        le=8,
        description="How many connections to DingTalk a listener holds; each push comes to one "
        "of them, so with two the bot hears on when one breaks.",
    )
    connection_ttl_s: float | None = Field(
        validation_alias="CONNECTION_TTL_S",
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Longest life of a connection in seconds, before it is replaced by a new one; "
        "unset: until DingTalk ends it.",
    )
    silence_limit_s: float = Field(
        validation_alias="SILENCE_LIMIT_S",
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="A connection on which nothing came for so long, not even the answer to a "
        "ping, is replaced.",
    )
    spool_max_mb: int = Field(
        validation_alias="SPOOL_MAX_MB",
        default=256,
        ge=1,
        description="How much may wait on the disk while the broker is away, in MiB; what does not "
        "fit pushes out the oldest messages, which are reported as missed (spool_full).",
    )
    health_port: int | None = Field(
        validation_alias="HEALTH_PORT",
        default=None,
        ge=1,
        le=65535,
        description="Port of the listener's /healthz and /metrics, on all interfaces; unset: "
        "neither.",
    )

    @field_validator("client_id")
    @classmethod
    def _some_bot(cls, value: str, info: ValidationInfo) -> str:
        # Tables that cannot be read are named themselves.
        if not value and not info.data.get("bots", True):
            raise PydanticCustomError("missing", "Field required")
        return value

    @field_validator("client_secret")
    @classmethod
    def _both_or_none(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        has_secret = bool(value.get_secret_value())
        client_id = info.data.get("client_id")
        if not has_secret and (client_id or client_id is None):
            raise PydanticCustomError("missing", "Field required")
        if has_secret and client_id == "":
            raise ValueError("belongs to DINGTALK_CLIENT_ID, which is not set")
        return value
