"""The table of one bot, ``[[channels_config.dingtalk.bots]]``; read by ``contract/settings.py``.

A bot's table says what is otherwise for it than for the process. Nearly every key is a field of the
settings, which judge it: :data:`BOT_KEYS` has their names, and one more is all that another
setting needs to be a bot's own.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Protocol

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr

__all__ = ["BOT_KEYS", "BotTable", "check_apart", "strip", "tables"]

BOT_KEYS = frozenset(
    {
        *("client_id", "client_secret", "name", "robot_code"),
        *("agent", "agent_settings", "agent_timeout_s", "allowed_users", "reply_within_s"),
        *("history_turns", "history_hours", "history_tokens", "history_by"),
        *("denied_notice", "chat_commands", "commands"),
        *("agent_retries", "failed_notice"),
        *("allowed_groups", "groups", "reply_at_sender", "card_action_handler", "event_handler"),
        *("api_qps", "api_budget"),
        *("thinking", "still_working_s", "card_template_id", "card_key"),
        *("bot_language", "bot_words"),
    }
)
"""The settings that a bot may have for itself, by their field names in either process."""


def strip(value: object) -> object:
    """Take off the spaces pasted along with a credential, which DingTalk refuses with a 401."""
    return value.strip() if isinstance(value, str) else value


def tables(value: object) -> object:
    """Read the tables where they are JSON, as in the environment.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("not JSON: write [{...}, {...}], with the keys of the TOML") from None


class BotTable(BaseModel):
    """What stands in a bot's table; values of the settings' own keys are not judged here."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    client_id: Annotated[str, BeforeValidator(strip)]
    client_secret: Annotated[SecretStr | None, BeforeValidator(strip)] = None
    client_secret_env: str | None = None

    def __repr_args__(self) -> Any:
        """Leave out all but who it is."""
        return [("client_id", self.client_id)]

    @property
    def agent_settings(self) -> dict[str, Any]:
        """The settings of its agent that are its own; none where there is no table of them."""
        found = (self.model_extra or {}).get("agent_settings")
        return found if isinstance(found, dict) else {}

    @property
    def label(self) -> str:
        """What the bot is called."""
        return str((self.model_extra or {}).get("name") or self.client_id)

    def faults(self) -> list[str]:
        """Return what is wrong with its keys, by their names."""
        unknown = sorted((self.model_extra or {}).keys() - BOT_KEYS)
        found = [f"{key}: unknown key" for key in unknown]
        if not self.client_id:
            found.append("client_id: Field required")
        if self.client_secret is not None and self.client_secret_env is not None:
            found.append("client_secret_env: give this or client_secret, not both")
        elif self.client_secret_env is not None and not self._secret():
            found.append(f"client_secret_env: the variable {self.client_secret_env} is not set")
        elif not self._secret():
            found.append(
                "client_secret: Field required, or client_secret_env, a variable that holds it"
            )
        return found

    def values(self, fields: Collection[str]) -> dict[str, Any]:
        """Return what the bot has for itself of ``fields``, a process's."""
        its = {"client_id": self.client_id, "client_secret": self._secret()}
        return its | {k: v for k, v in (self.model_extra or {}).items() if k in fields}

    def _secret(self) -> str:
        if self.client_secret is not None:
            return self.client_secret.get_secret_value()
        name = self.client_secret_env or ""
        return (os.environ.get(name) or dotenv_values(".env").get(name) or "").strip()


class _Bot(Protocol):
    @property
    def client_id(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def robot(self) -> str | None: ...


def check_apart(bots: Sequence[_Bot]) -> None:
    """Refuse bots that could be taken for one another.

    Raises:
        ValueError: Two have something in common; it says what, as none of it is a secret.
    """
    for key, values in (
        ("client_id", [bot.client_id for bot in bots]),
        ("name", [bot.name for bot in bots]),
        ("robot_code", [bot.robot for bot in bots]),
    ):
        twice = [value for value, count in Counter(filter(None, values)).items() if count > 1]
        if twice:
            raise ValueError(f"two bots have the {key} {twice[0]}")
