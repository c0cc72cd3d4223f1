"""What the agent reads: ``OPENAI_…``."""

from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from contract.settings import CommaSeparated, read_json
from dingwire.http import is_loopback
from worker.agents.agent_settings import AgentSettings
from worker.agents.base import AgentLoadError
from worker.agents.openai.tools import load_tools

__all__ = ["OpenAISettings"]

OPENAI = "https://api.openai.com/v1"
# Of endpoints that ask for none; the client wants to send one.
NO_KEY = "none"

_PROMPT = (
    "You are a helpful assistant in a DingTalk chat. Answer in the language of the question, "
    "briefly, in plain words or simple Markdown without HTML."
)
_MIB = 1024 * 1024


class OpenAISettings(AgentSettings, env_prefix="OPENAI_"):
    """Of one bot's agent."""

    base_url: str = Field(
        default=OPENAI, description="Address of the endpoint, up to and without /chat/completions."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Its key; unset for an endpoint that asks for none."
    )
    model: str = Field(
        description="The model. Set, and with AGENT unset, worker.agents.openai:agent is the agent."
    )
    system_prompt: str | None = Field(
        default=None,
        description="What the model is told first; unset: that it is an assistant in a chat.",
    )
    system_prompt_file: Path | None = Field(
        default=None, description="A file (UTF-8) that holds it instead; read once, at the start."
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="How freely it writes; unset: the endpoint's own."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer, sent as max_tokens; unset: no limit."
    )
    max_completion_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The same as max_completion_tokens, which OpenAI's reasoning models want.",
    )
    stream: bool = Field(
        default=True,
        description="Whether answers are asked for in pieces; off for an endpoint that cannot.",
    )
    pictures: bool = Field(
        default=False, description="Whether the model takes pictures; off: it is told of them."
    )
    picture_max_mb: float = Field(
        default=5,
        gt=0,
        le=20,
        allow_inf_nan=False,
        description="Largest picture it is shown, in MiB; of eight at most.",
    )
    text_file_kb: int = Field(
        default=64,
        ge=0,
        le=4096,
        description="How much of a text file it is shown, in KiB; 0: only its name.",
    )
    tools: CommaSeparated = Field(
        default=(),
        description="module:function of Python functions that it may call, comma separated.",
    )
    tool_steps: int = Field(
        default=5,
        ge=1,
        le=50,
        description="How often it may call some before it must answer.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a busy or unreachable endpoint is asked again, within the agent's "
        "time.",
    )
    extra_body: Annotated[dict[str, Any], NoDecode, BeforeValidator(read_json)] = Field(
        default_factory=dict,
        description='More fields of each request, a JSON object: {"enable_thinking": false}.',
    )

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        value = value.strip().rstrip("/").removesuffix("/chat/completions")
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port  # the port is read, and checked, only now
        except ValueError:
            raise ValueError("cannot be read as an address") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("must start with https:// or http:// and name a host")
        return value

    @field_validator("api_key", mode="before")
    @classmethod
    def _stripped(cls, value: object) -> object:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        key = "" if value is None else value.get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("has characters that no key has: was it pasted whole?")
        return value

    @field_validator("system_prompt_file")
    @classmethod
    def _can_be_read(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                value.read_text(encoding="utf-8")
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ValueError("is no UTF-8 text") from None
        return value

    @field_validator("tools")
    @classmethod
    def _can_be_called(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            load_tools(value)
        except AgentLoadError as error:
            raise ValueError(str(error).removeprefix("OPENAI_TOOLS=")) from None
        return value

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.api_key is None and self.base_url == OPENAI:
            raise ValueError(
                "OPENAI_API_KEY: needed; without one, set OPENAI_BASE_URL to what asks for none"
            )
        if self.system_prompt is not None and self.system_prompt_file is not None:
            raise ValueError(
                "OPENAI_SYSTEM_PROMPT_FILE: set this or OPENAI_SYSTEM_PROMPT, not both"
            )
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError(
                "OPENAI_MAX_COMPLETION_TOKENS: set this or OPENAI_MAX_TOKENS, not both"
            )
        return self

    @property
    def in_words(self) -> str:
        """Which model, and where, for people; never with a password in the address."""
        return f"{self.model} at {urlsplit(self.base_url).netloc.rpartition('@')[2]}"

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def key(self) -> str:
        """What is sent as the key."""
        return self.api_key.get_secret_value() if self.api_key is not None else NO_KEY

    @property
    def prompt(self) -> str:
        """What the model is told first; read from its file, if it has one."""
        if self.system_prompt_file is not None:
            return self.system_prompt_file.read_text(encoding="utf-8").strip()
        return _PROMPT if self.system_prompt is None else self.system_prompt.strip()

    @property
    def picture_bytes(self) -> int:
        """The largest picture."""
        return int(self.picture_max_mb * _MIB)

    @property
    def options(self) -> dict[str, Any]:
        """What each request holds beside what was said."""
        chosen = {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "max_completion_tokens": self.max_completion_tokens,
            "extra_body": self.extra_body or None,
        }
        return {name: value for name, value in chosen.items() if value is not None}
