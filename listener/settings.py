"""What the listener reads; once, in ``__main__.py``."""

import json
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from contract.bots import strip
from contract.settings import CommaSeparated, Settings

__all__ = ["GroupSettings", "ListenerSettings"]


class GroupSettings(BaseModel):
    """What holds in one group."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    allowed_users: CommaSeparated


def _tables(value: object) -> object:
    """Read what the environment holds as JSON; refuse by a text that shows no value."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None
    if not isinstance(value, dict) or not all(
        isinstance(each, dict | GroupSettings) for each in value.values()
    ):
        raise ValueError("must be a table for each group, by its conversation id")
    # A bot's are the process's own ones, which were read before, unless its table has others.
    unread = [table for table in value.values() if isinstance(table, dict)]
    known = GroupSettings.model_fields.keys()
    if unknown := sorted({key for table in unread for key in table} - known):
        raise ValueError(f"unknown key in a group's table: {', '.join(map(str, unknown))}")
    return value


Groups = Annotated[dict[str, GroupSettings], NoDecode, BeforeValidator(_tables)]


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
    allowed_groups: CommaSeparated = Field(
        validation_alias="DINGTALK_ALLOWED_GROUPS",
        default=(),
        description="Conversation ids (cid…) of the groups that may write to the bot, comma "
        "separated; empty, or *, is every group the bot is in. Who writes there must be allowed "
        "as well.",
    )
    groups: Groups = Field(
        validation_alias="DINGTALK_GROUPS",
        default_factory=dict,
        description="Who may write in single groups, instead of DINGTALK_ALLOWED_USERS: a table "
        "for each, by its conversation id (in the environment as JSON). A group that is named here "
        "is allowed.",
    )
    denied_notice: bool = Field(
        validation_alias="DENIED_NOTICE",
        default=False,
        description="Whether somebody who may not write to the bot is told the staff id, and the "
        "group's id, to ask for access with; at most once an hour each.",
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

    @property
    def let_in(self) -> frozenset[str]:
        """Whom any list names; ``*`` only when it is on the list of all groups and chats."""
        named = {
            f"{user} in {group}" if user == "*" else user
            for group, its in self.groups.items()
            for user in its.allowed_users
        }
        return frozenset({*self.allowed_users, *named})
