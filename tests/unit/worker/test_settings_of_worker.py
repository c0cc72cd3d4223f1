"""What the worker accepts as its setup, and what it refuses before it starts."""

import json
import re
from pathlib import Path

import pytest

from contract.settings import SettingsError
from worker.settings import MODEL_AGENT, WorkerSettings
from worker.thinking import CardSettings, Shown

_ALIASES = [field.validation_alias for field in WorkerSettings.model_fields.values()]
VARIABLES = [
    "DINGTALK_CONFIG",
    *(str(name) for alias in _ALIASES for name in getattr(alias, "choices", [alias])),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing set; returns how to set something."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def set_(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load()
    return str(caught.value)


def test_with_nothing_set_everything_is_on_this_machine(tmp_path):
    settings = WorkerSettings.load()

    assert settings.is_embedded
    assert settings.store_address == f"sqlite:///{tmp_path}/.data/store.sqlite3"
    assert settings.agent == "worker.agents.echo:agent"
    assert (settings.agent_timeout_s, settings.lease_s, settings.shutdown_grace_s) == (300, 15, 20)
    assert (settings.late_policy, settings.worker_pool) == ("flag", "threads")
    assert settings.worker_concurrency is None
    assert settings.webhook_hosts == ("oapi.dingtalk.com", "api.dingtalk.com")


def test_a_model_that_is_named_is_asked(environment, tmp_path):
    environment(OPENAI_MODEL="qwen-plus")
    assert WorkerSettings.load().agent == MODEL_AGENT

    environment(AGENT="")
    assert WorkerSettings.load().agent == MODEL_AGENT, "an empty variable is none"

    environment(AGENT="my_agent:answer")
    assert WorkerSettings.load().agent == "my_agent:answer"


def test_the_model_may_stand_in_the_file_of_variables_and_a_bot_has_its_own(environment, tmp_path):
    (tmp_path / ".env").write_text("OPENAI_MODEL=qwen-plus\n")
    bots = [{"client_id": f"ding{n}", "client_secret": "s"} for n in range(2)]
    bots[1]["agent"] = "worker.agents.echo:agent"
    environment(DINGTALK_BOTS=json.dumps(bots))

    agents = [bot.agent for bot in WorkerSettings.load().of_bots]

    assert agents == [MODEL_AGENT, "worker.agents.echo:agent"]


# Where the store is.


@pytest.mark.parametrize("broker", ["redis://h/0", "rediss://h/0", "amqp://h//", "amqps://h//"])
def test_a_remote_broker_without_a_store_is_refused(environment, broker):
    environment(BROKER_URL=broker)
    said = refusal()
    assert "STORE_URL: a remote broker needs a store that every worker reaches" in said
    assert "//h" not in said


def test_a_local_file_from_an_addon_does_not_serve_a_remote_broker(environment):
    environment(BROKER_URL="amqp://h//", DATABASE_URL="sqlite:///here.db")
    assert "every worker reaches" in refusal()


def test_a_local_file_that_is_named_on_purpose_does(environment):
    environment(BROKER_URL="amqp://h//", STORE_URL="sqlite:///here.db")
    assert WorkerSettings.load().store_address == "sqlite:///here.db"


def test_redis_url_serves_as_broker_and_store(environment):
    environment(REDIS_URL="redis://h/0")
    settings = WorkerSettings.load()
    assert settings.broker_url == settings.store_address == "redis://h/0"


@pytest.mark.parametrize(
    ("values", "store"),
    [
        ({"STORE_URL": "redis://a", "DATABASE_URL": "postgres://b"}, "redis://a"),
        ({"DATABASE_URL": "postgres://b", "REDIS_URL": "redis://c"}, "postgres://b"),
        ({"REDIS_TLS_URL": "rediss://d", "REDIS_URL": "redis://c"}, "rediss://d"),
        ({"CLOUDAMQP_URL": "amqp://e", "REDIS_URL": "redis://c"}, "redis://c"),
        ({"STORE_URL": "postgresql+psycopg://f/db"}, "postgresql+psycopg://f/db"),
        ({"STORE_URL": "", "DATABASE_URL": "postgresql://b"}, "postgresql://b"),
    ],
)
def test_store_url_then_database_url_then_redis(environment, values, store):
    environment(**values)
    assert WorkerSettings.load().store_address == store


@pytest.mark.parametrize(
    "url", ["mysql://u:SECRET@h/db", "SECRET", "postgresql+psycopg2://u:SECRET@h/db", "postgresqlx"]
)
@pytest.mark.parametrize("variable", ["STORE_URL", "DATABASE_URL"])
def test_a_store_nobody_can_open_is_refused_before_the_start(environment, variable, url):
    environment(**{variable: url})
    assert refusal() == (
        f"{variable}: must start with redis://, rediss://, postgresql:// or sqlite:///"
    )


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2/x@h:6379/0", "postgresql://u:hunter2#x@h/db", "postgres://h:99999/d"]
)
@pytest.mark.parametrize("variable", ["STORE_URL", "DATABASE_URL"])
def test_a_store_address_that_cannot_be_read_is_refused_without_its_password(
    environment, variable, url
):
    environment(**{variable: url})
    assert refusal() == f"{variable}: cannot be read; is its password percent-encoded?"


def test_a_folder_that_cannot_hold_the_broker_is_refused(environment):
    environment(DATA_DIR="/proc/nope")
    assert refusal().startswith("DATA_DIR: cannot be written to: ")


def test_a_database_of_something_else_is_no_obstacle_to_a_named_store(environment):
    environment(STORE_URL="redis://h", DATABASE_URL="mysql://u:SECRET@h/db")
    assert WorkerSettings.load().store_address == "redis://h"


# The rest.


def test_the_environment_wins_over_env_file_and_toml(environment):
    Path("bot.toml").write_text(
        '[channels_config.dingtalk]\nagent = "toml:a"\nlease_s = 30\nlate_policy = "drop"\n'
        'webhook_hosts = ["a.example", "b.example:8443"]\n'
    )
    Path(".env").write_text("AGENT=file:a\nLEASE_S=40\n")
    environment(DINGTALK_CONFIG="bot.toml", AGENT="environment:a")

    settings = WorkerSettings.load()

    assert (settings.agent, settings.lease_s, settings.late_policy) == ("environment:a", 40, "drop")
    assert settings.webhook_hosts == ("a.example", "b.example:8443")


def test_all_that_is_wrong_is_named_at_once_without_its_value(environment):
    wrong = {
        "BROKER_URL": "SECRET",
        "STORE_URL": "SECRET",
        "AGENT_SETTINGS": '{"api_key": "SECRET',
        "AGENT_TIMEOUT_S": "-SECRET",
        "LATE_POLICY": "SECRET",
        "LEASE_S": "0.5",
        "SHUTDOWN_GRACE_S": "-1",
        "WORKER_POOL": "SECRET",
        "WORKER_CONCURRENCY": "0",
        "KEEP_MISSED_DAYS": "0",
        "DINGTALK_WEBHOOK_HOSTS": "a.example,https://SECRET/x",
        "LOG_LEVEL": "SECRET",
    }
    environment(**wrong)

    said = refusal()

    assert {re.split(": ", line)[0] for line in said.splitlines()} == set(wrong)
    assert "SECRET" not in said


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "variable",
    [
        *("AGENT_TIMEOUT_S", "LEASE_S", "SHUTDOWN_GRACE_S", "KEEP_MISSED_DAYS"),
        *("STILL_WORKING_S", "CARD_EVERY_S"),
    ],
)
def test_a_duration_is_a_finite_number(environment, variable, number):
    environment(**{variable: number})
    assert refusal().startswith(f"{variable}: ")


def test_webhook_hosts_are_separated_by_commas(environment):
    environment(DINGTALK_WEBHOOK_HOSTS=" a.example , 127.0.0.1:8080,")
    assert WorkerSettings.load().webhook_hosts == ("a.example", "127.0.0.1:8080")


def test_a_card_needs_a_template(environment):
    environment(THINKING="card")
    assert refusal() == "CARD_TEMPLATE_ID: needed for THINKING=card"

    environment(CARD_TEMPLATE_ID="t.schema", CARD_KEY="text", CARD_EVERY_S="2")
    assert WorkerSettings.load().shown == Shown("card", None, CardSettings("t.schema", "text", 2))


def test_own_words_are_read_once_and_a_fault_in_them_is_one_of_the_settings(environment):
    Path("own.toml").write_text('[thinking]\nen = "On it"\n', encoding="utf-8")
    environment(BOT_WORDS="own.toml")
    own = WorkerSettings.load().bot_words
    assert own is not None
    assert own.phrases["thinking"].en == "On it"

    Path("own.toml").write_text('[thinkng]\nen = "On it"\n', encoding="utf-8")
    assert refusal() == "BOT_WORDS: own.toml: thinkng: no such text; did you mean thinking?"
    environment(BOT_WORDS="nowhere.toml")
    assert refusal() == "BOT_WORDS: nowhere.toml: No such file or directory"


def test_nothing_is_shown_unless_asked_for(environment):
    environment()
    shown = WorkerSettings.load().shown
    assert not shown.is_anything

    environment(STILL_WORKING_S="30")
    assert WorkerSettings.load().shown.is_said
