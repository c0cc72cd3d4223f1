"""What the worker reads; by ``worker/running/process.py`` once, and by the operator commands."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from contract.settings import CommaSeparated, Settings, check_url, is_local_url, read_json
from contract.variables import names_set
from dingwire.media_hosts import DEFAULT_MEDIA_HOSTS, MediaHosts
from dingwire.webhook import WebhookHosts
from worker.agents.base import MOST_TURNS
from worker.phrases import OwnWords
from worker.thinking import CardSettings, Mode, Shown
from worker.turns import Burst
from worker.words import CATALOGUE, Chosen, Language, Spoken, Voice

__all__ = ["MODEL", "MODEL_AGENT", "WorkerSettings"]

# The variable of a language model, and the agent that asks it.
MODEL = "OPENAI_MODEL"
MODEL_AGENT = "worker.agents.openai:agent"

# Those of worker.store.open_store.
_STORE_SCHEMES = (
    "redis://",
    "rediss://",
    "sqlite://",
    "postgres://",
    "postgresql://",
    "postgresql+psycopg://",
)


def _own_words(value: object) -> object:
    """Read the file that is named; what was read before stays."""
    return OwnWords.read(value, CATALOGUE) if isinstance(value, str) else value


class WorkerSettings(Settings):
    """What the worker reads."""

    store_url: str | None = Field(
        validation_alias="STORE_URL",
        default=None,
        description="What is remembered: redis(s)://, postgresql:// or sqlite:///path.",
    )
    addon_store_url: str | None = Field(
        validation_alias=AliasChoices("DATABASE_URL", "REDIS_TLS_URL", "REDIS_URL"),
        default=None,
        description="The same from an add-on, when STORE_URL is unset; else SQLite in DATA_DIR.",
    )
    webhook_hosts: CommaSeparated = Field(
        validation_alias="DINGTALK_WEBHOOK_HOSTS",
        default=("oapi.dingtalk.com", "api.dingtalk.com"),
        description="Hosts (or host:port) a session webhook may point to, https only; a listed "
        "loopback address may be http. Their names must lead to public addresses, or into a "
        "network listed as 10.0.0.0/8.",
    )
    media_hosts: CommaSeparated = Field(
        validation_alias="DINGTALK_MEDIA_HOSTS",
        default=DEFAULT_MEDIA_HOSTS,
        description="Hosts, with all below them, that pictures and files people send may be "
        "fetched from; host:port for one alone (a loopback address always so), network/bits for "
        "a private network that their names may lead to.",
    )
    media_max_mb: float = Field(
        validation_alias="MEDIA_MAX_MB",
        default=20,
        gt=0,
        allow_inf_nan=False,
        description="Largest file fetched for an agent, in MiB.",
    )
    media_timeout_s: float = Field(
        validation_alias="MEDIA_TIMEOUT_S",
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Longest one of them may take, within what is left of the agent's time.",
    )
    agent: str = Field(
        validation_alias="AGENT",
        default="worker.agents.echo:agent",
        description="module:attribute of the agent, importable from the working directory; unset "
        "while OPENAI_MODEL is set: worker.agents.openai:agent.",
    )
    agent_settings: Annotated[dict[str, Any], NoDecode, BeforeValidator(read_json)] = Field(
        validation_alias="AGENT_SETTINGS",
        default={},
        repr=False,
        description="Settings of the agent's own, by their field names: a table in the TOML file, "
        "JSON in the environment. Its own variables win over it.",
    )
    history_turns: int | None = Field(
        validation_alias="HISTORY_TURNS",
        default=None,
        ge=0,
        le=MOST_TURNS,
        description="How many turns of a conversation, a question and its answer each, the agent "
        "is reminded of; 0: none, and nothing is stored. Unset: as many as the agent asks for.",
    )
    history_hours: float = Field(
        validation_alias="HISTORY_HOURS",
        default=24,
        gt=0,
        le=8760,
        allow_inf_nan=False,
        description="How long a turn is remembered; then it is deleted.",
    )
    history_tokens: int | None = Field(
        validation_alias="HISTORY_TOKENS",
        default=None,
        ge=1,
        description="Most tokens of them, by a rough count, the oldest turns going first; unset: "
        "as many as the agent asks for, else any number.",
    )
    history_by: Literal["conversation", "person"] = Field(
        validation_alias="HISTORY_BY",
        default="conversation",
        description="Whether a group has one memory, or each person in it their own.",
    )
    bot_language: Chosen = Field(
        validation_alias="BOT_LANGUAGE",
        default="auto",
        description="Language of what the bot says of its own accord: zh, en, both, or auto, that "
        "of the message.",
    )
    bot_words: Annotated[OwnWords | None, NoDecode, BeforeValidator(_own_words)] = Field(
        validation_alias="BOT_WORDS",
        default=None,
        description="TOML file with texts in place of those that the bot says of its own accord.",
    )
    commands: str | None = Field(
        validation_alias="COMMANDS",
        default=None,
        description="module:attribute of the commands of your own that people may give in the "
        "chat; unset: none.",
    )
    card_action_handler: str | None = Field(
        validation_alias="CARD_ACTION_HANDLER",
        default=None,
        description="module:attribute of what is called when somebody presses a card's button; "
        "unset: nothing.",
    )
    event_handler: str | None = Field(
        validation_alias="EVENT_HANDLER",
        default=None,
        description="module:attribute of what is called for events of the organisation; "
        "unset: nothing.",
    )
    thinking: Mode = Field(
        validation_alias="THINKING",
        default="off",
        description="What is seen while the agent works: reaction (on the message), card (that "
        "grows, for agents that yield), text (a word at the start) or off.",
    )
    still_working_s: float | None = Field(
        validation_alias="STILL_WORKING_S",
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="An agent that takes longer is said to be still working, and then again in "
        "growing intervals; unset: never.",
    )
    card_template_id: str | None = Field(
        validation_alias="CARD_TEMPLATE_ID",
        default=None,
        description="AI card template (….schema) of DingTalk's card platform, for THINKING=card.",
    )
    card_key: str = Field(
        validation_alias="CARD_KEY",
        default="content",
        min_length=1,
        description="That template's variable that holds the text.",
    )
    card_every_s: float = Field(
        validation_alias="CARD_EVERY_S",
        default=1,
        ge=0.05,
        allow_inf_nan=False,
        description="Least time between two updates of one card; each is a call of DingTalk's API.",
    )
    agent_timeout_s: float = Field(
        validation_alias="AGENT_TIMEOUT_S",
        default=300,
        gt=0,
        allow_inf_nan=False,
        description="Longest one call of the agent, or of a handler, may take.",
    )
    agent_retries: int = Field(
        validation_alias="AGENT_RETRIES",
        default=0,
        ge=0,
        le=1000,
        description="How often an agent that raises Retry is run again, within the deadline.",
    )
    failed_notice: bool = Field(
        validation_alias="FAILED_NOTICE",
        default=True,
        description="Whether a person is told when the agent failed or took too long.",
    )
    late_policy: Literal["drop", "flag", "rescue"] = Field(
        validation_alias="LATE_POLICY",
        default="flag",
        description="What becomes of a reply that missed its deadline.",
    )
    reply_at_sender: bool = Field(
        validation_alias="REPLY_AT_SENDER",
        default=False,
        description="Whether answers in groups mention the person who wrote.",
    )
    lease_s: float = Field(
        validation_alias="LEASE_S",
        default=15,
        ge=1,
        le=3600,
        allow_inf_nan=False,
        description="How long a crashed worker's message waits until another takes it over.",
    )
    shutdown_grace_s: float = Field(
        validation_alias="SHUTDOWN_GRACE_S",
        default=20,
        ge=0,
        allow_inf_nan=False,
        description="What running agents get on SIGTERM before their messages go back.",
    )
    worker_pool: Literal["threads", "prefork"] = Field(
        validation_alias="WORKER_POOL",
        default="threads",
        description="threads, or prefork for CPU-bound agents; -P on the command line wins.",
    )
    worker_concurrency: int | None = Field(
        validation_alias="WORKER_CONCURRENCY",
        default=None,
        ge=1,
        description="Messages worked on at once (threads 64, prefork one a core); -c wins.",
    )
    burst: Burst = Field(
        validation_alias="BURST",
        default=Burst.EACH,
        description="What becomes of messages that arrive while the agent is busy with their "
        "conversation: each gets its own turn, or those of one sender merge into one.",
    )
    max_waiting: int | None = Field(
        validation_alias="MAX_WAITING",
        default=None,
        ge=0,
        description="How many messages of a conversation may wait for their turn; one more gets "
        "a notice instead of an answer.",
    )
    late_handover: bool | None = Field(
        validation_alias="LATE_HANDOVER",
        default=None,
        description="Whether kept answers are delivered when somebody writes again in their "
        "conversation; unset: with LATE_POLICY=flag.",
    )
    keep_missed_days: float = Field(
        validation_alias="KEEP_MISSED_DAYS",
        default=7,
        gt=0,
        allow_inf_nan=False,
        description="How long missed replies are kept.",
    )
    replies_per_minute: int | None = Field(
        validation_alias="REPLIES_PER_MINUTE",
        default=None,
        ge=1,
        le=1000,
        description="Most posts a minute to one conversation, of all workers together; unset: any "
        "number until DingTalk says that it is too fast, then 20 for half an hour.",
    )
    api_qps: int = Field(
        validation_alias="API_QPS",
        default=20,
        ge=1,
        le=1000,
        description="Most calls a second of one API of DingTalk's, of all workers together; 20 is "
        "what DingTalk allows without an add-on.",
    )
    api_budget: int | None = Field(
        validation_alias="API_BUDGET",
        default=None,
        ge=0,
        description="Most API calls of this bot a month; after them no proactive messages, "
        "reactions and cards. Unset: any number. Free organisations have 5000.",
    )
    metrics_port: int | None = Field(
        validation_alias="METRICS_PORT",
        default=None,
        ge=1,
        le=65535,
        description="Port of this worker's /metrics, on all interfaces; unset: none. Workers on "
        "one machine need one each.",
    )
    alert_webhook: SecretStr | None = Field(
        validation_alias="ALERT_WEBHOOK",
        default=None,
        description="Webhook of a DingTalk group robot that is told of new missed replies, at "
        "most once a minute.",
    )
    alert_secret: SecretStr | None = Field(
        validation_alias="ALERT_SECRET",
        default=None,
        description="Signing secret of that robot (SEC…), if it has one.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_model_is_asked(cls, data: Any) -> Any:
        """Choose the agent that asks it, where a model is named and no agent is."""
        is_chosen = not isinstance(data, dict) or data.keys() & {"AGENT", "agent"}
        return data if is_chosen or MODEL not in names_set() else {**data, "AGENT": MODEL_AGENT}

    @field_validator("store_url", "addon_store_url")
    @classmethod
    def _known_store(cls, value: str | None, info: ValidationInfo) -> str | None:
        # With STORE_URL set, DATABASE_URL may belong to another program.
        is_used = info.field_name == "store_url" or not info.data.get("store_url")
        if not is_used or value is None:
            return value
        if not value.startswith(_STORE_SCHEMES):
            raise ValueError("must start with redis://, rediss://, postgresql:// or sqlite:///")
        if not value.startswith("sqlite:"):
            check_url(value)
        return value

    @field_validator("alert_webhook")
    @classmethod
    def _alert_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be the robot's address, which starts with https://")
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, entry in enumerate(value, start=1):
            try:
                WebhookHosts.parse([entry])
            except ValueError:
                raise ValueError(
                    f"entry {number} is not a host or host:port, nor a network"
                ) from None
        return value

    @field_validator("media_hosts")
    @classmethod
    def _media_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, entry in enumerate(value, start=1):
            try:
                MediaHosts.parse([entry])
            except ValueError:
                raise ValueError(
                    f"entry {number} is not a host, host:port or network/bits"
                ) from None
        return value

    @model_validator(mode="after")
    def _store_is_shared(self) -> Self:
        if not self.is_embedded and self.store_url is None and is_local_url(self.store_address):
            raise ValueError(
                "STORE_URL: a remote broker needs a store that every worker reaches: set "
                "REDIS_URL or DATABASE_URL, or name this machine's SQLite in STORE_URL"
            )
        return self

    @model_validator(mode="after")
    def _card_has_a_template(self) -> Self:
        if self.thinking == "card" and not self.card_template_id:
            raise ValueError("CARD_TEMPLATE_ID: needed for THINKING=card")
        return self

    @property
    def shown(self) -> Shown:
        """What is seen while the agent works; in which language, the message may say."""
        card = None
        if self.card_template_id is not None:
            card = CardSettings(self.card_template_id, self.card_key, self.card_every_s)
        return Shown(self.thinking, self.still_working_s, card, at_sender=self.reply_at_sender)

    def language(self, of_message: Spoken | None) -> Language:
        """Return in what language, and words, the bot speaks of its own accord.

        Args:
            of_message: The language that is answered, for ``BOT_LANGUAGE=auto``; None when it does
                not show.
        """
        spoken = self.bot_language
        if spoken == "auto":
            spoken = of_message or "both"
        return spoken if self.bot_words is None else Voice(spoken, self.bot_words.phrases)

    @property
    def hands_over(self) -> bool:
        """Whether a fresh webhook delivers what its conversation missed."""
        return self.late_policy == "flag" if self.late_handover is None else self.late_handover

    @property
    def store_address(self) -> str:
        """Where the store is; SQLite in ``data_dir`` when nothing is named."""
        file = Path(self.data_dir).absolute() / "store.sqlite3"
        return self.store_url or self.addon_store_url or f"sqlite:///{file}"
