"""What an agent is given beside the message."""

import asyncio
import logging
from typing import Any

import pytest

from tests.unit.worker.answering_parts import envelope
from worker.agents import AgentSettings, Context, Usage
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.base import Message
from worker.agents.cancelling import Cancellation
from worker.agents.loading import load_agent
from worker.agents.runner import AgentRunner

MESSAGE = Message.of(envelope(text="hello"))


class WeatherSettings(AgentSettings, env_prefix="WEATHER_"):
    city: str
    days: int = 1


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_an_agent_of_two_arguments_is_given_its_context():
    context: Context[None] = Context(MESSAGE)
    runner = AgentRunner(lambda message, given: f"{message.text} {given is context}")

    assert runner.run(MESSAGE, context=context, limit_s=60) == "hello True"


def test_time_runs_out_and_is_never_negative():
    left = [5.0]
    context: Context[None] = Context(MESSAGE, left_s=lambda: left[0])
    assert context.remaining_s() == 5.0
    left[0] = -1.0
    assert context.remaining_s() == 0.0


def test_what_is_said_is_handed_on_until_the_run_is_over():
    said: list[object] = []
    context: Context[None] = Context(MESSAGE, say=said.append)

    context.say("first")
    asyncio.run(context.asay("second"))
    context.used(Usage("a model", 3, 4))
    context.close()
    context.say("too late")
    context.used(Usage("a model", 3, 4))

    assert said == ["first", "second"]
    assert len(context.usage) == 1


def test_nothing_is_said_of_a_message_that_was_stopped():
    said: list[object] = []
    context: Context[None] = Context(MESSAGE, say=said.append)
    context.cancellation.cancel()
    context.say("too late")
    assert (said, context.cancelled) == ([], True)


def test_an_async_agent_is_told_to_await_what_it_says():
    async def agent(_message, context):
        context.say("blocks")

    with pytest.raises(Exception, match="RuntimeError"):
        AgentRunner(agent).run(MESSAGE, limit_s=60)


def test_a_line_in_the_log_says_of_which_message_it_is(caplog):
    context: Context[None] = Context(MESSAGE, log_fields={"task_id": "task1"})
    with caplog.at_level(logging.INFO):
        context.logger.info("asked", extra={"model": "m"})
    (record,) = caplog.records
    assert (record.message_id, record.task_id, record.model) == ("msg1", "task1", "m")


def test_settings_come_from_the_environment_over_env_over_the_table(monkeypatch, tmp_path):
    table = {"city": "Table", "days": 3}
    assert WeatherSettings.load(last=table).city == "Table"
    (tmp_path / ".env").write_text("WEATHER_CITY=Dotenv\n", encoding="utf-8")
    assert WeatherSettings.load(last=table).city == "Dotenv"
    monkeypatch.setenv("WEATHER_CITY", "Environment")
    read = WeatherSettings.load(last=table)
    assert (read.city, read.days) == ("Environment", 3)
    assert WeatherSettings.load(first={"city": "Bot"}, last=table).city == "Bot"


def test_every_wrong_setting_is_named_and_not_shown(monkeypatch):
    monkeypatch.setenv("WEATHER_DAYS", "SECRET")
    with pytest.raises(AgentSettingsError) as raised:
        WeatherSettings.load()
    first, second = str(raised.value).splitlines()
    assert first == "WEATHER_CITY: Field required"
    assert second.startswith("WEATHER_DAYS: ")
    assert "SECRET" not in str(raised.value)


class TripSettings(AgentSettings, env_prefix="TRIP_"):
    stops: list[str]
    prices: dict[str, int]
    days: int


@pytest.mark.parametrize("where", ["environment", "env file"])
def test_what_should_be_json_and_is_none_is_named_with_all_that_is_wrong(
    monkeypatch, tmp_path, where
):
    monkeypatch.chdir(tmp_path)
    variables = {"TRIP_STOPS": "SECRET,b", "TRIP_PRICES": "{SECRET", "TRIP_DAYS": "SECRET"}
    if where == "env file":
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        (tmp_path / ".env").write_text(lines, encoding="utf-8")
    else:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    with pytest.raises(AgentSettingsError) as raised:
        TripSettings.load()

    faults = dict(line.split(": ") for line in str(raised.value).splitlines())
    assert list(faults) == ["TRIP_STOPS", "TRIP_PRICES", "TRIP_DAYS"]
    assert faults["TRIP_STOPS"] == "Input should be a valid list, as JSON in the environment"
    assert "SECRET" not in str(raised.value)


def test_a_bots_own_setting_that_no_field_has_is_a_fault_and_one_of_all_bots_is_not():
    with pytest.raises(AgentSettingsError) as raised:
        WeatherSettings.load(first={"town": "SECRET"}, last={"of_another_agent": 1})
    assert str(raised.value).splitlines() == [
        "agent_settings.town: no such setting",
        "WEATHER_CITY: Field required",
    ]


def test_settings_of_a_bot_whose_agent_takes_none_are_a_fault():
    with pytest.raises(AgentSettingsError, match="takes no settings"):
        load_agent("worker.agents.echo:agent", first={"model": "m"})
    assert load_agent("worker.agents.echo:agent", last={"model": "m"}).settings is None


@pytest.mark.parametrize("name", ["keys", "values", "items", "get"])
def test_a_setting_may_be_called_like_a_method_of_a_mapping(monkeypatch, name):
    settings: Any = type(
        "LockSettings",
        (AgentSettings,),
        {"__annotations__": {name: str}, "__module__": __name__},
        env_prefix="LOCK_",
    )
    monkeypatch.setenv(f"LOCK_{name}".upper(), "three")

    assert getattr(settings.load(), name) == "three"


def test_a_cancellation_keeps_its_first_reason_and_calls_each_callback_once():
    called: list[str] = []
    cancellation = Cancellation()
    forget = cancellation.on_cancel(lambda: called.append("forgotten"))
    cancellation.on_cancel(lambda: called.append("before"))
    forget()
    cancellation.cancel("first")
    cancellation.cancel("second")
    cancellation.on_cancel(lambda: called.append("after"))
    assert (called, cancellation.reason) == (["before", "after"], "first")
