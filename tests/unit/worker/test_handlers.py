"""Handlers are loaded at the start, and run like agents."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from contract.pushes import OrgEvent
from worker.agents.base import AgentLoadError
from worker.agents.card_update import CardUpdate, NotACardUpdateError, card_update_of
from worker.agents.runner import AgentFailedError, AgentTimeoutError
from worker.handlers import HandlerRunner, load_handler

EVENT = OrgEvent(
    bot="ding1", client_id="ding1", event_id="e1", received_at=datetime(2026, 1, 1, tzinfo=UTC)
)


class Awaited:
    async def __call__(self, event):
        return event.event_id


async def awaited(event):
    return event.event_id


@pytest.fixture
def beside():
    """Run in a thread, as the threads pool does."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call: pool.submit(call).result(60)


@pytest.mark.parametrize(
    "handler",
    [lambda event: event.event_id, awaited, lambda event: awaited(event), Awaited()],
    ids=["plain", "async", "returns an awaitable", "an object"],
)
def test_what_a_handler_returns_comes_as_it_is(handler, beside):
    runner = HandlerRunner(handler)
    assert beside(lambda: runner.run(EVENT, limit_s=60)) == "e1"
    assert runner.run(EVENT, limit_s=60) == "e1"  # in the main thread, as in a pool process


@pytest.mark.parametrize("result", [{"a": 1}, 7, ["x"], CardUpdate.of({"a": 1})])
def test_what_no_agent_may_return_a_handler_may(result):
    assert HandlerRunner(lambda event: result).run(EVENT, limit_s=60) == result


def test_a_handler_that_raises_shows_its_error_by_its_kind_alone():
    def handler(event):
        raise KeyError("a secret")

    with pytest.raises(AgentFailedError) as caught:
        HandlerRunner(handler).run(EVENT, limit_s=60)
    assert caught.value.detail == "KeyError"
    assert "secret" not in str(caught.value)


def test_a_handler_has_its_time_and_no_more(beside):
    end, lost = threading.Event(), list[int]()
    runner = HandlerRunner(lambda event: end.wait(60), on_abandoned=lost.append)
    with pytest.raises(AgentTimeoutError):
        beside(lambda: runner.run(EVENT, limit_s=0.05))
    end.set()
    assert lost == [1]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("class it: pass", "is a class"),
        ("it = 7", "is a int, which nobody can call"),
        ("def it(): pass", "cannot be called with one argument, the event"),
        ("def it(event): yield", "yields"),
        ("async def it(event): yield", "yields"),
        ("other = 1", "has no it"),
    ],
)
def test_what_can_never_work_is_said_by_the_variables_name(code, error, tmp_path, monkeypatch):
    name = f"handler_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(AgentLoadError, match=f"^EVENT_HANDLER='{name}:it'.*{error}"):
        load_handler("EVENT_HANDLER", f"{name}:it", "the event")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(AgentLoadError, match="EVENT_HANDLER='nowhere:it': cannot import nowhere"):
        load_handler("EVENT_HANDLER", "nowhere:it", "the event")


def test_half_a_name_is_told_how_a_handler_is_named():
    with pytest.raises(AgentLoadError, match="write module:attribute, such as my_handlers:"):
        load_handler("EVENT_HANDLER", "my_handlers", "the event")


@pytest.mark.parametrize("nothing", [None, {}, CardUpdate()])
def test_a_card_may_be_left_as_it_is(nothing):
    assert card_update_of(nothing) is None


def test_a_card_is_given_texts():
    update = card_update_of({"text": "done", "count": 2, "list": [1, "二"], "is_open": False})
    assert update is not None
    assert update.params == {"text": "done", "count": "2", "list": '[1, "二"]', "is_open": "false"}


@pytest.mark.parametrize("result", ["done", 7, ["a"], {"a": object()}, {1: "a"}])
def test_what_changes_no_card_is_refused_by_its_type(result):
    with pytest.raises(NotACardUpdateError, match="returned"):
        card_update_of(result)


def test_what_a_card_will_show_is_not_shown():
    assert "secret" not in repr(CardUpdate(params={"a": "secret"}, private_params={"b": "secret"}))
