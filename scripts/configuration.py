"""``make docs``: write ``docs/configuration.md`` from the settings classes.

``tests/unit/test_packaging.py`` compares the file with what this makes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from contract.bots import BOT_KEYS
from contract.settings import TOML_KEYS, Settings
from listener.settings import ListenerSettings
from worker.agents import AgentSettings
from worker.agents.http import HttpAgentSettings
from worker.agents.openai import OpenAISettings
from worker.settings import WorkerSettings

__all__ = ["PAGE", "document"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from the settings classes; edit their descriptions instead. -->

Every process reads its settings once, at its start, from the first of these that has them:

1. the environment;
2. the file `.env` in the working directory;
3. the table `[channels_config.dingtalk]` of the TOML file that `DINGTALK_CONFIG` names.

```toml
# DINGTALK_CONFIG=bot.toml
[channels_config.dingtalk]
client_id = "dingxxxxxxxxxxxxxxxx"
client_secret = "the secret of your app"
allowed_users = ["manager4220", "0123456789"]

# Only in this group, and instead of the list above.
[channels_config.dingtalk.groups."cidExampleGroup=="]
allowed_users = ["*"]
```

An empty variable counts as unset. Lists are comma separated in the environment and arrays in TOML.
A key of the table that no process knows is an error.
A process that cannot use its settings names every faulty variable at once, shows no value of any,
and exits with code 2.
"""

SEVERAL_BOTS = """
## Several bots

One listener holds the connections of any number of bots, and one fleet of workers answers for all
of them. Each bot beside the first is a table of the TOML file:

```toml
[channels_config.dingtalk]                # what all bots have, and the first bot
client_id = "dingxxxxxxxxxxxxxxxx"
client_secret = "the secret of your app"

[[channels_config.dingtalk.bots]]         # one more; any number of these
name = "sales"
client_id = "dingyyyyyyyyyyyyyyyy"
client_secret_env = "SALES_SECRET"        # the variable, or line of .env, that holds the secret
agent = "sales_agent:answer"
allowed_users = ["*"]
```

Without `client_id` above, the tables are all the bots there are. Where there is no file, the
variable `DINGTALK_BOTS` holds the tables as JSON: `[{"client_id": "…", "client_secret_env": "…"}]`.
Listener and workers read the same tables.

The keys of a table are {keys}. They mean what the rows above say; what a table leaves
out is as it is for the process. In addition `client_secret_env`, the name of a variable that holds
the secret, in place of `client_secret`. A name, a client id or a robot code that two bots have is
an error, and so is any other key.
"""

REST = """
## Read by others

From the environment alone; `make run` passes on what stands in `.env`.

| variable | meaning |
|---|---|
| `DINGTALK_CONFIG` | the TOML file; may itself stand in `.env` |
| `PORT` | where `python -m worker.web` listens on all interfaces, with a login only; unset: `127.0.0.1:5555` |
| `FLOWER_BASIC_AUTH` | `user:password` of Flower; `make run` makes one up and keeps it in `DATA_DIR/flower-password` |
| `FLOWER_AUTH`, `FLOWER_AUTH_PROVIDER`, `FLOWER_OAUTH2_KEY`, `FLOWER_OAUTH2_SECRET`, `FLOWER_OAUTH2_REDIRECT_URI` | Flower's login by an OAuth provider instead |
| `FLOWER_UNAUTHENTICATED_API` | opens Flower's API where it has no login at all, as on loopback |
| `RESULT_BACKEND` | a Celery result backend, if another program wants results; unset: none, the store is the record |

Flower reads every option of its own from a variable `FLOWER_…`.
"""  # noqa: E501, a row of a table cannot be broken


def _names(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return [str(choice) for choice in choices]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr | dict) or value is None:
        return "unset"
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{value}`" if value != "" else "empty"


def _rows(settings: type[Settings], *, besides: type[Settings] | None = None) -> Iterator[str]:
    """Yield a table of the fields that ``besides`` has not, or has otherwise."""
    yield "| variable | default | key in TOML | meaning |"
    yield "|---|---|---|---|"
    for name, field in settings.model_fields.items():
        if besides and name not in settings.__annotations__:
            continue
        variable = ", else ".join(f"`{each}`" for each in _names(name, field))
        key = f"`{name}`" if name in TOML_KEYS else "none"
        yield f"| {variable} | {_default(field)} | {key} | {field.description} |"


def _agent_rows(settings: type[AgentSettings]) -> Iterator[str]:
    """Yield a table of what an agent reads."""
    prefix = settings.model_config.get("env_prefix", "")
    yield "| variable | default | key in `agent_settings` | meaning |"
    yield "|---|---|---|---|"
    for name, field in settings.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield f"| `{variable}` | {_default(field)} | `{name}` | {field.description} |"


def document() -> str:
    """Return the page."""
    parts = [
        INTRODUCTION,
        "## Both processes\n",
        *_rows(Settings),
        "\n## The listener\n",
        *_rows(ListenerSettings, besides=Settings),
        "\n## The worker\n",
        *_rows(WorkerSettings, besides=Settings),
        "\n## The agent worker.agents.http\n",
        *_agent_rows(HttpAgentSettings),
        "\n## The agent worker.agents.openai\n",
        *_agent_rows(OpenAISettings),
        SEVERAL_BOTS.rstrip().replace("{keys}", ", ".join(f"`{key}`" for key in sorted(BOT_KEYS))),
        REST.rstrip(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
