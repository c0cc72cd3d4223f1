"""Where settings come from, and what both processes read.

Environment over ``.env`` over the table ``[channels_config.dingtalk]`` of the TOML file that
``DINGTALK_CONFIG`` names. Each process reads its own subclass once, in its entry module, and
passes values down. No variable's value is ever part of an error.

With several bots, :attr:`Settings.of_bots` are the settings as each of them has them.
"""

import json
import os
import tempfile
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from contract.bots import BotTable, check_apart, tables
from contract.sealing import Sealer
from contract.turn import Order

__all__ = [
    "EMBEDDED_BROKER",
    "TOML_KEYS",
    "CommaSeparated",
    "Settings",
    "SettingsError",
    "check_url",
    "is_local_url",
    "read_json",
]

EMBEDDED_BROKER = "embedded://"
TABLE = ("channels_config", "dingtalk")
BOTS = "DINGTALK_BOTS"

# What may stand in the table, for either process: a key that none of them reads is a mistake.
TOML_KEYS = frozenset(
    {
        *("client_id", "client_secret", "name", "robot_code", "bots"),
        *("openapi_endpoint", "broker_url", "data_dir"),
        *("log_format", "log_level", "allowed_users", "reply_within_s"),
        "reply_at_sender",
        *("denied_notice", "chat_commands", "commands"),
        *("allowed_groups", "groups", "card_action_handler", "event_handler"),
        *("store_url", "webhook_hosts", "agent", "agent_settings", "agent_timeout_s"),
        *("agent_retries", "failed_notice"),
        *("history_turns", "history_hours", "history_tokens", "history_by"),
        *("late_policy", "lease_s"),
        *("shutdown_grace_s", "worker_pool", "worker_concurrency", "keep_missed_days"),
        *("order", "burst", "max_waiting", "late_handover", "bot_language", "bot_words"),
        *("media_hosts", "media_max_mb", "media_timeout_s"),
        *("thinking", "still_working_s", "card_template_id", "card_key", "card_every_s"),
        *("connections", "connection_ttl_s", "silence_limit_s", "spool_max_mb"),
        *("envelope_key", "health_port", "metrics_port", "alert_webhook", "alert_secret"),
        *("replies_per_minute", "api_qps", "api_budget"),
    }
)


class SettingsError(ValueError):
    """The settings cannot be read; the text names every faulty variable and shows no value."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part for part in (p.strip() for p in value.split(",")) if part)


def read_json(value: object) -> object:
    """Read what is JSON in the environment; a table of the TOML file is no text, and stays.

    Raises:
        ValueError: It is text and no JSON; how it is written is said.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('not JSON: write {"name": value}') from None


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""``a, b`` in the environment, an array in TOML."""


class _TomlTable(PydanticBaseSettingsSource):
    """The table of the TOML file, its keys being the field names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise AssertionError("values are read as a whole in __call__")

    def __call__(self) -> dict[str, Any]:
        """Read the table; an empty one when ``DINGTALK_CONFIG`` names no file."""
        name = os.environ.get("DINGTALK_CONFIG") or dotenv_values(".env").get("DINGTALK_CONFIG")
        if not name:
            return {}
        try:
            table: Any = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"DINGTALK_CONFIG: {name}: {error.strerror}") from None
        except ValueError:
            raise SettingsError(f"DINGTALK_CONFIG: {name}: not a TOML file") from None
        for key in TABLE:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            raise SettingsError(f"DINGTALK_CONFIG: {name}: {'.'.join(TABLE)} is not a table")
        if unknown := sorted(table.keys() - TOML_KEYS):
            raise SettingsError(f"DINGTALK_CONFIG: {name}: unknown key {', '.join(unknown)}")
        return {key: value for key, value in table.items() if key in self.settings_cls.model_fields}


def _variable(field: FieldInfo, name: str) -> str:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return str(choices[0])


def _faults(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Return where it is wrong and why, without the values."""
    errors = error.errors(include_input=False, include_url=False)
    return [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in errors]


def _table(number: int, table: BotTable) -> str:
    return f"bot {number} ({table.label})" if table.label else f"bot {number}"


class Settings(BaseSettings):
    """What both processes read."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        case_sensitive=True,
    )

    # The first field, as what else is needed depends on it.
    bots: Annotated[tuple[BotTable, ...], NoDecode, BeforeValidator(tables)] = Field(
        validation_alias=BOTS,
        default=(),
        repr=False,
        description="More bots, beside the one that the other variables describe: see below; "
        "a JSON array of objects in the environment.",
    )
    client_id: str | None = Field(
        validation_alias="DINGTALK_CLIENT_ID", default=None, description="The bot's app key."
    )
    client_secret: SecretStr | None = Field(
        validation_alias="DINGTALK_CLIENT_SECRET", default=None, description="The app secret."
    )
    name: str | None = Field(
        validation_alias="DINGTALK_BOT_NAME",
        default=None,
        description="What the bot is called where there are several; unset: its client id.",
    )
    robot_code: str | None = Field(
        validation_alias="DINGTALK_ROBOT_CODE",
        default=None,
        description="The bot's robotCode, when it is not its client id.",
    )
    openapi_endpoint: str = Field(
        validation_alias="DINGTALK_OPENAPI_ENDPOINT",
        default="https://api.dingtalk.com",
        description="Base address of DingTalk's API.",
    )
    broker_url: str = Field(
        validation_alias=AliasChoices("BROKER_URL", "CLOUDAMQP_URL", "REDIS_TLS_URL", "REDIS_URL"),
        default=EMBEDDED_BROKER,
        description="Where tasks go: redis://, rediss:// or amqp(s)://; else the embedded broker.",
    )
    data_dir: Path = Field(
        validation_alias="DATA_DIR",
        default=Path(".data"),
        validate_default=True,
        description="Folder of the embedded broker and the SQLite store.",
    )
    order: Order = Field(
        validation_alias="ORDER",
        default=Order.CONVERSATION,
        description="What is answered one message at a time, as it was written: a conversation, "
        "each sender in it, or none.",
    )
    chat_commands: bool = Field(
        validation_alias="CHAT_COMMANDS",
        default=True,
        description="Whether the bot itself answers commands such as /help and /stop; off: they "
        "go to the agent.",
    )
    envelope_key: SecretStr | None = Field(
        validation_alias="ENVELOPE_KEY",
        default=None,
        description="Keys (Fernet's, comma separated, the newest first) that seal what people "
        "wrote and their webhooks on the broker, the disk and in the store; the same for all "
        "processes. Unset: in clear.",
    )
    log_format: Literal["text", "json"] | None = Field(
        validation_alias="LOG_FORMAT",
        default=None,
        description="text or json; unset: text on a terminal, else json.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        validation_alias="LOG_LEVEL", default="INFO", description="Least severe level logged."
    )

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "amqp://", "amqps://", EMBEDDED_BROKER)):
            raise ValueError("must start with redis://, rediss://, amqp:// or amqps://")
        check_url(value)
        if value.startswith("redis"):
            _check_one_redis(value)
        return value

    @field_validator("envelope_key")
    @classmethod
    def _keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Sealer.from_setting(value.get_secret_value())
        return value

    @field_validator("data_dir")
    @classmethod
    def _can_hold_the_broker(cls, value: Path, info: ValidationInfo) -> Path:
        # Else both processes would wait for ever for a broker that cannot be.
        if str(info.data.get("broker_url", "")).startswith(EMBEDDED_BROKER):
            _check_writable(value)
        return value

    @field_validator("openapi_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must start with https:// (or http:// for a simulator)")
        return value.rstrip("/")

    @field_validator("bots")
    @classmethod
    def _whole(cls, value: tuple[BotTable, ...]) -> tuple[BotTable, ...]:
        faults = [
            f"{_table(number, table)}: {fault}"
            for number, table in enumerate(value, start=1)
            for fault in table.faults()
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return value

    @cached_property
    def of_bots(self) -> tuple[Self, ...]:
        """The settings of each bot: the process's own, with what the bot's table says instead.

        The bot that the variables describe comes first. Without tables there is no other, even if
        nothing tells who it is.

        Raises:
            SettingsError: Naming all that is wrong with the tables.
        """
        made, faults = [], []
        if self.client_id or not self.bots:
            made.append(self.model_copy(update={"bots": ()}))
        fields = type(self).model_fields
        own = {name: getattr(self, name) for name in fields}
        own |= {"bots": (), "name": None, "robot_code": None}
        for number, table in enumerate(self.bots, start=1):
            try:
                made.append(type(self)(**(own | table.values(fields))))
            except ValidationError as error:
                keys = {_variable(field, name): name for name, field in fields.items()}
                for loc, text in _faults(error):
                    key = keys.get(str(loc[0]), loc[0]) if loc else "settings"
                    faults.append(f"{BOTS}: {_table(number, table)}: {key}: {text}")
        try:
            check_apart(made)
        except ValueError as error:
            faults.append(f"{BOTS}: {error}")
        if faults:
            raise SettingsError("\n".join(faults))
        return tuple(made)

    @property
    def label(self) -> str:
        """What the bot is called."""
        return self.name or self.client_id or ""

    @property
    def named_bots(self) -> tuple[tuple[str, Self], ...]:
        """The settings of each bot with what it is called; a bot alone needs no name."""
        bots = self.of_bots
        return tuple((bot.label if len(bots) > 1 else "", bot) for bot in bots)

    @property
    def secret_variables(self) -> frozenset[str]:
        """The names of the variables that hold secrets of bots."""
        return frozenset(each.client_secret_env for each in self.bots if each.client_secret_env)

    @property
    def robot(self) -> str | None:
        """What DingTalk calls the bot in messages: its robot code, mostly the client id."""
        return self.robot_code or self.client_id

    @property
    def sealer(self) -> Sealer:
        """What seals and opens envelopes with ``ENVELOPE_KEY``."""
        keys = self.envelope_key
        return Sealer.from_setting(None if keys is None else keys.get_secret_value())

    @property
    def is_embedded(self) -> bool:
        """Whether tasks go through the embedded broker in ``data_dir``."""
        return self.broker_url.startswith(EMBEDDED_BROKER)

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings; ``values`` (by field name) win over every source.

        Raises:
            SettingsError: Naming all that is wrong, one ``VARIABLE: reason`` a line.
        """
        try:
            settings = cls(**values)
            _ = settings.of_bots  # so that what is wrong with a bot is seen now
        except ValidationError as error:
            raise SettingsError(
                "\n".join(f"{cls._named(loc)}{text}" for loc, text in _faults(error))
            ) from None
        except UnicodeDecodeError:
            raise SettingsError(".env: not UTF-8 text") from None
        return settings

    @classmethod
    def _named(cls, loc: tuple[int | str, ...]) -> str:
        if not loc:
            return ""  # of the settings as a whole, which name the variables themselves
        first = str(loc[0])
        field = cls.model_fields.get(first)
        name = _variable(field, first) if field else first
        if name == BOTS and len(loc) > 1:
            key = "".join(f": {part}" for part in loc[2:])
            return f"{BOTS}: bot {int(loc[1]) + 1}{key}: "
        return f"{name}: "

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, first wins."""
        return init_settings, env_settings, dotenv_settings, _TomlTable(settings_cls)


def is_local_url(url: str) -> bool:
    """Whether only this machine can reach what the URL names (a file, or the embedded broker)."""
    return url.startswith(("sqlite", EMBEDDED_BROKER))


def check_url(url: str) -> None:
    """Refuse a URL that no client could read, before one shows parts of its password.

    Raises:
        ValueError: Saying what is likely wrong, and nothing of the URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # read from the text, and checked, only now
    except ValueError:
        raise ValueError("cannot be read; is its password percent-encoded?") from None
    # A password such as 123/4 makes a port of its beginning and a path of its end.
    if "@" not in parts.netloc and "@" in parts.path + parts.fragment:
        raise ValueError("cannot be read; is its password percent-encoded?")


def _check_one_redis(url: str) -> None:
    """Refuse what kombu would read and the listener does not."""
    if ";" in url:
        raise ValueError("must be one address, not a list; in a password write %3B for ;")
    query = dict(parse_qsl(urlsplit(url).query))
    if other := sorted(name for name in query if not name.startswith("ssl_")):
        raise ValueError(f"has options that are not known: {', '.join(other)}")


def _check_writable(folder: Path) -> None:
    """Try to write where the folder is, or will be; leaves nothing behind."""
    try:
        nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ValueError(f"cannot be written to: {error.strerror}") from None
