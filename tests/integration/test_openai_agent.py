"""The agent that asks a language model, against an endpoint played on this machine, by HTTP."""

import asyncio
import json
import logging
import sys
import types
from contextlib import aclosing
from typing import Any

import pytest

from contract.content import Quoted
from tests.openai_answers import Gate, Refuses, Says, busy, throttled
from tests.openai_double import KEY, MODEL, OpenAIDouble
from tests.servers import wait_for
from tests.unit.worker.openai_parts import (
    PNG,
    answer,
    code,
    message,
    pieces_of,
    said,
    settings,
)
from worker.agents import AgentError, Context, Retry, Usage
from worker.agents.openai import agent as OpenAIAgent  # noqa: N812, a class

PRIVATE = "xyzzy-private"


@pytest.fixture
def endpoint():
    with OpenAIDouble() as double:
        yield double


@pytest.fixture
def agent(endpoint):
    """One with the settings that a test names."""
    return lambda **fields: OpenAIAgent(settings(endpoint, **fields))


def failure(agent, what=None, history=(), **more):
    """Why it did not answer: what an operator reads."""
    with pytest.raises((AgentError, Retry)) as raised:
        answer(agent, what or message(PRIVATE), history, **more)
    error = raised.value
    if isinstance(error, Retry):
        assert isinstance(error.__cause__, AgentError)
        return f"retry: {error.__cause__}"
    return str(error)


@pytest.mark.parametrize("stream", [True, False], ids=["in pieces", "in one go"])
def test_the_memory_is_part_of_what_is_asked(endpoint, agent, stream):
    words, context = answer(agent(stream=stream), message("and now?"), said("hello", "hi"))

    assert words == "turn 2; first you said: hello; now: and now?"
    assert endpoint.asked[0].roles == ["system", "user", "assistant", "user"]
    assert endpoint.asked[0].body.get("stream", False) is stream
    assert context.usage == (Usage(MODEL, 12, 7),)


async def test_words_come_as_they_are_written(endpoint, agent):
    gate = Gate()
    endpoint.script(Says("one two three", gate=gate))
    asked = agent()
    what = message()
    async with aclosing(asked(what, Context(what))) as pieces:
        # The gate holds the second delta back; the first has no words.
        first = asyncio.ensure_future(anext(pieces))
        await asyncio.to_thread(wait_for, lambda: endpoint.asked, what="a request")
        assert not first.done()
        gate.open()
        assert await first == "one"
        assert [piece async for piece in pieces] == [" two", " three"]
    await asked.shutdown()


def test_what_an_operator_chose_is_what_is_asked_for(endpoint, agent):
    chosen = agent(
        system_prompt="be brief",
        temperature=0.3,
        max_completion_tokens=99,
        extra_body={"enable_thinking": False, "top_p": 0.9},
    )

    answer(chosen, message())

    body = endpoint.asked[0].body
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert {k: body[k] for k in ("temperature", "max_completion_tokens", "top_p")} == {
        "temperature": 0.3, "max_completion_tokens": 99, "top_p": 0.9,
    }  # fmt: skip
    assert body["enable_thinking"] is False
    assert "max_tokens" not in body
    assert "tools" not in body


def test_many_messages_share_one_connection(endpoint, agent):
    asked = agent()

    async def run() -> None:
        await asked.startup()
        for number in range(5):
            await pieces_of(asked, message(f"number {number}"))
        await asked.shutdown()

    asyncio.run(run())

    assert len(endpoint.asked) == 5
    assert endpoint.connections == 1


def test_another_event_loop_gets_a_client_of_its_own(endpoint, agent):
    """The worker gives agents a new loop when one of them has blocked it."""
    asked = agent()
    first, second = (asyncio.new_event_loop() for _ in range(2))

    for loop in (first, second):
        loop.run_until_complete(pieces_of(asked, message()))

    assert endpoint.connections == 2
    for loop in (first, second):
        loop.run_until_complete(asked.shutdown())
        loop.close()


# Attachments.


def test_a_picture_is_sent_to_a_model_that_takes_them(endpoint, agent, tmp_path):
    what = message(
        "what is it?",
        attachments=(code("a.png", "picture"), code("n.txt")),
        quoted=Quoted(text="look", attachments=(code("b.png", "picture"),)),
        files={"a.png": PNG, "b.png": PNG, "n.txt": b"a note"},
        folder=tmp_path,
    )

    words, _ = answer(agent(pictures=True), what)

    assert words.startswith("turn 1 with 2 pictures")
    assert endpoint.asked[0].pictures[0].startswith("data:image/png;base64,iVBORw0KGgo")
    told = endpoint.asked[0].last
    assert told.startswith("[in answer to a message:]\n> look\n\nwhat is it?")
    assert "[file n.txt:]\na note" in told


# What endpoints say instead of an answer.


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refuses(401, "invalid_api_key", f"wrong key {KEY}"), "refused the key (401)"),
        (Refuses(403), "says that this key may not do this (403)"),
        (Refuses(402, "x"), "wants to be paid first (402)"),
        (Refuses(404, "model_not_found"), "knows no such model, or OPENAI_BASE_URL is not"),
        (
            Refuses(400, "data_inspection_failed", f"{PRIVATE} is not allowed"),
            "refused the request (400, data_inspection_failed)",
        ),
        (Refuses(422, f"no: {PRIVATE}"), "refused the request (422)"),
        (
            Refuses(429, "insufficient_quota"),
            "says that its quota is used up (429, insufficient_quota)",
        ),
    ],
    ids=["key", "permission", "bill", "model", "content", "other", "quota"],
)
def test_a_refusal_is_told_to_the_operator_and_nothing_private(endpoint, agent, refusal, words):
    endpoint.script(refusal)

    told = failure(agent())

    assert told.startswith(f"OpenAI endpoint {words}")
    assert PRIVATE not in told
    assert KEY not in told
    assert len(endpoint.asked) == 1, "asking again changes nothing"


def test_a_wrong_key_and_a_wrong_model_are_refused_for_real(agent):
    assert "(401)" in failure(agent(api_key="sk-wrong-1"))
    assert "(404)" in failure(agent(model="double-9"))


def test_a_failed_call_used_no_tokens(endpoint, agent):
    endpoint.script(Refuses(400))
    context: Context[Any] = Context(message())
    asked = agent()

    async def run() -> None:
        with pytest.raises(AgentError):
            await pieces_of(asked, context.message, context)
        await asked.shutdown()

    asyncio.run(run())
    assert context.usage == ()


def test_a_busy_endpoint_is_asked_again(endpoint, agent, caplog):
    endpoint.script(busy(), throttled(0), Says("at last"))

    with caplog.at_level(logging.INFO):
        words, context = answer(agent(), message())

    assert words == "at last"
    assert len(endpoint.asked) == 3
    assert endpoint.connections == 1
    assert [each.action for each in caplog.records] == ["model_retried", "model_retried"]
    assert context.usage == (Usage(MODEL, 12, 7),)


def test_one_that_stays_busy_is_left_to_another_run(endpoint, agent):
    endpoint.script(busy(), busy(), busy())
    assert failure(agent()) == "retry: OpenAI endpoint is not well (500)"
    assert len(endpoint.asked) == 3


def test_nobody_waits_longer_than_there_is_time(endpoint, agent):
    endpoint.script(throttled(50))

    with pytest.raises(Retry) as raised:
        answer(agent(), message(), left_s=lambda: 40.0)

    assert raised.value.after_s == 50
    assert len(endpoint.asked) == 1


def test_an_endpoint_that_is_not_there_is_said_to_be_so(endpoint, agent):
    gone = agent(base_url="http://127.0.0.1:1/v1", retries=0)
    assert failure(gone) == (
        "retry: OpenAI endpoint cannot be reached, or broke the connection off"
    )


def test_an_address_without_an_endpoint_is_named(endpoint, agent):
    elsewhere = agent(base_url=endpoint.base_url.removesuffix("/v1"))
    assert failure(elsewhere) == (
        "OpenAI endpoint knows no such model, or OPENAI_BASE_URL is not its address (404)"
    )


@pytest.mark.parametrize("stream", [True, False], ids=["in pieces", "in one go"])
def test_an_answer_that_breaks_off_unheard_is_asked_for_again(endpoint, agent, stream):
    broken = Says("" if stream else "whole", thoughts="hm", is_broken=True)
    endpoint.script(broken, Says("whole"))
    words, _ = answer(agent(stream=stream), message())
    assert words == "whole"


def test_one_that_breaks_off_in_the_middle_is_left_to_another_run(endpoint, agent):
    """What was shown of it cannot be taken back here."""
    endpoint.script(Says("one two", is_broken=True))
    assert "broke" in failure(agent())
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (Says(""), "the model said nothing (stop)"),
        (Says("", thoughts="too long", finish="length"), "the model said nothing (length)"),
        (Says("half", finish="content_filter"), "OpenAI endpoint withheld the answer"),
    ],
    ids=["empty", "only thoughts", "withheld"],
)
def test_an_answer_that_is_none_is_a_failure(endpoint, agent, says, words):
    endpoint.script(says)
    assert failure(agent()).startswith(words)


def test_thoughts_are_not_said(endpoint, agent):
    endpoint.script(Says("Yes.", thoughts="let me see"), Says("<think>let me see</think>\n\nYes."))
    asked = agent()
    assert [answer(asked, message())[0] for _ in range(2)] == ["Yes.", "Yes."]


def test_what_is_too_long_loses_its_oldest_turns(endpoint, agent, caplog):
    history = said(*(f"{number} {'x' * 100}" for number in range(12)))
    endpoint.longest = 900

    with caplog.at_level(logging.INFO):
        words, _ = answer(agent(), message("and now?"), history)

    assert words.startswith("turn 4; first you said: 6 ")
    assert len(endpoint.asked) == 2
    [record] = caplog.records
    assert (record.action, record.left) == ("history_cut", 6)


def test_what_is_too_long_by_itself_is_a_failure(endpoint, agent):
    endpoint.longest = 300
    history = said(*(f"{number} {'x' * 100}" for number in range(12)))

    told = failure(agent(), message("y" * 400), history)

    assert told == "the message is longer than the model takes, even without any history"
    assert len(endpoint.asked) == 4


# Tools.


def weather(city: str, context: Context[Any]) -> str:
    """Tell the weather."""
    if city == "Nowhere":
        raise ValueError(city)
    return f"sunny in {city} for {context.message.sender_nick}"


async def time_of(city: str) -> str:
    return f"noon in {city}"


@pytest.fixture
def tools(monkeypatch):
    module = types.ModuleType("my_tools")
    module.__dict__.update(weather=weather, time_of=time_of)
    monkeypatch.setitem(sys.modules, "my_tools", module)
    return ("my_tools:weather", "my_tools:time_of")


@pytest.mark.parametrize("stream", [True, False], ids=["in pieces", "in one go"])
@pytest.mark.parametrize("thoughts_are", ["reasoning_content", "reasoning"])
def test_tools_are_called_and_told_of(endpoint, agent, tools, stream, thoughts_are):
    wishes = (("weather", {"city": "Hangzhou"}), ("time_of", {"city": "Xi'an"}))
    thoughts = {"thoughts": "I need tools", "thoughts_are": thoughts_are}
    endpoint.script(Says("Let me see.", tools=wishes, **thoughts))

    words, context = answer(agent(tools=tools, stream=stream), message())

    assert words == "Let me see.\n\nthe tool said noon in Xi'an"
    first, second = endpoint.asked
    assert [each["function"]["name"] for each in first.body["tools"]] == ["weather", "time_of"]
    _, _, wanted, sunny, noon = second.messages
    assert wanted["content"] == "Let me see."
    assert wanted[thoughts_are].strip() == "I need tools", "DeepSeek wants them back"
    assert [json.loads(each["function"]["arguments"]) for each in wanted["tool_calls"]] == [
        {"city": "Hangzhou"}, {"city": "Xi'an"},
    ]  # fmt: skip
    ids = [each["id"] for each in wanted["tool_calls"]]
    assert [(each["tool_call_id"], each["content"]) for each in (sunny, noon)] == [
        (ids[0], "sunny in Hangzhou for Alice"), (ids[1], "noon in Xi'an"),
    ]  # fmt: skip
    assert context.usage == (Usage(MODEL, 12, 7), Usage(MODEL, 12, 7))


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (("weather", {"city": "Nowhere"}), "error: weather failed (ValueError)"),
        (("weather", '{"city": '), "error: Invalid JSON"),
        (("weather", {}), "error: city: Field required"),
        (("wheather", {"city": "H"}), "error: there is no wheather"),
    ],
    ids=["raises", "no json", "missing", "unknown"],
)
def test_a_tool_that_fails_is_told_to_the_model_which_goes_on(endpoint, agent, tools, wish, told):
    endpoint.script(Says(tools=(wish,)), Says("I do not know."))

    words, _ = answer(agent(tools=tools), message())

    assert words == "I do not know."
    assert endpoint.asked[1].last.startswith(told)


@pytest.mark.parametrize(
    "numbers", [(0, 0), (None, None), (5, 2)], ids=["all the same", "none", "with gaps"]
)
def test_tools_are_told_apart_however_an_endpoint_numbers_them(endpoint, agent, tools, numbers):
    wishes = (("time_of", {"city": "H"}), ("weather", {"city": "X"}))
    endpoint.script(Says(tools=wishes, numbers=numbers), Says("Done."))

    answer(agent(tools=tools), message())

    *_, wanted, first, second = endpoint.asked[1].messages
    assert [each["function"]["name"] for each in wanted["tool_calls"]] == ["time_of", "weather"]
    assert [first["tool_call_id"], second["tool_call_id"]] == ["call_0", "call_1"]
    assert not any(each["content"].startswith("error") for each in (first, second))


def test_halves_of_emoji_that_a_tool_returns_do_not_end_the_answer(endpoint, agent, monkeypatch):
    def half() -> str:
        return "a \ud83d b"

    module = types.ModuleType("my_tools")
    module.__dict__.update(half=half)
    monkeypatch.setitem(sys.modules, "my_tools", module)
    endpoint.script(Says(tools=(("half", {}),)), Says("Done."))

    words, _ = answer(agent(tools=("my_tools:half",)), message())

    assert (words, endpoint.asked[1].last) == ("Done.", "a ? b")


def test_what_is_no_number_of_tokens_was_not_told(endpoint, agent):
    endpoint.script(Says("Done.", used=(-3, 7)))
    words, context = answer(agent(), message())
    assert (words, context.usage) == ("Done.", (Usage(MODEL, None, 7),))


def test_an_endpoint_of_this_machine_is_not_asked_by_a_proxy(endpoint, agent, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)

    words, _ = answer(agent(retries=0), message("hello"))

    assert words.endswith("now: hello")


def test_after_so_many_steps_a_model_must_answer(endpoint, agent, tools):
    wish = Says(tools=(("time_of", {"city": "H"}),))
    endpoint.script(wish, wish, Says("Noon."))

    words, _ = answer(agent(tools=tools, tool_steps=2), message())

    assert words == "Noon."
    choices = [each.body.get("tool_choice") for each in endpoint.asked]
    assert choices == [None, None, "none"]


def test_one_that_calls_all_the_same_has_failed(endpoint, agent, tools):
    endpoint.script(*[Says(tools=(("time_of", {"city": "H"}),))] * 2)
    told = failure(agent(tools=tools, tool_steps=1))
    assert told == "the model goes on calling tools, more often than OPENAI_TOOL_STEPS"
    assert len(endpoint.asked) == 2


# Costs, time and secrets.


def test_an_endpoint_that_tells_no_tokens_is_not_said_to_use_none(endpoint, agent):
    endpoint.says_usage = False
    _, context = answer(agent(), message())
    assert context.usage == (Usage(MODEL, None, None),)


def test_a_cancelled_answer_is_hung_up_on(endpoint, agent):
    """A model that nobody listens to any more costs money."""
    endpoint.script(Says("one two", gate=Gate()))
    asked = agent()
    context: Context[Any] = Context(message())

    async def run() -> None:
        task = asyncio.ensure_future(pieces_of(asked, context.message, context))
        await asyncio.to_thread(wait_for, lambda: endpoint.asked, what="a request")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asked.shutdown()

    asyncio.run(run())

    wait_for(lambda: endpoint.asked[0].is_over, what="the endpoint to notice")
    assert endpoint.asked[0].was_left
    assert context.usage == (Usage(MODEL, None, None),)


def test_nothing_of_a_conversation_is_logged_at_any_level(endpoint, agent, caplog):
    with caplog.at_level(logging.DEBUG):
        answer(agent(), message(PRIVATE), said(PRIVATE, PRIVATE))
        endpoint.script(busy())
        answer(agent(), message(PRIVATE))

    shown = caplog.text + "".join(str(vars(each)) for each in caplog.records)
    assert PRIVATE not in shown
    assert KEY not in shown
