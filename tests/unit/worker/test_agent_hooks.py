"""What agents do before their first message and after their last."""

import asyncio
import sys
import threading
import types

import pytest

from tests.servers import wait_for
from tests.unit.worker.answering_parts import envelope
from worker.agents import AgentSettings
from worker.agents.base import AgentLoadError, Message
from worker.agents.hooks import Hooks
from worker.agents.loading import LoadedAgent, load_agent
from worker.agents.loop import AgentLoop
from worker.agents.runner import AgentRunner, AgentTimeoutError

MESSAGE = Message.of(envelope(text="hello"))


class HookSettings(AgentSettings, env_prefix="HOOKED_"):
    city: str = "Hangzhou"


@pytest.fixture
def agent_in(monkeypatch):
    """Make a module of these names, and load its ``answer``."""

    def load(name="hooked_agent", **names) -> LoadedAgent:
        module = types.ModuleType(name)
        vars(module).update({"answer": lambda _: "an answer", **names})
        monkeypatch.setitem(sys.modules, name, module)
        return load_agent(f"{name}:answer")

    return load


def hooks_of(*agents: LoadedAgent, loop: AgentLoop | None = None) -> Hooks:
    return Hooks([(loaded, loaded.build()) for loaded in agents], loop or AgentLoop())


def test_a_functions_hooks_are_those_of_its_module(agent_in):
    called: list[str] = []
    hooks = hooks_of(
        agent_in(startup=lambda: called.append("up"), shutdown=lambda: called.append("down"))
    )
    hooks.start()
    hooks.start()  # once a process
    assert called == ["up"]
    hooks.stop()
    hooks.stop()
    assert called == ["up", "down"]


def test_an_objects_hooks_are_its_methods_and_async_ones_share_the_loop_of_the_agents(agent_in):
    class Agent:
        async def startup(self):
            self.loop = asyncio.get_running_loop()

        async def __call__(self, _message):
            return asyncio.get_running_loop() is self.loop

        async def shutdown(self):
            assert asyncio.get_running_loop() is self.loop

    loaded, loop = agent_in(answer=Agent), AgentLoop()
    agent = loaded.build()
    hooks = Hooks([(loaded, agent)], loop)
    hooks.start()
    assert AgentRunner(agent, loop=loop).run(MESSAGE, limit_s=60) is True
    hooks.stop()


def test_a_hook_may_be_given_the_settings(agent_in):
    given: list[object] = []

    class Agent:
        def __init__(self, settings: HookSettings):
            self.settings = settings

        def __call__(self, _message):
            return self.settings.city

        def startup(self, settings):
            given.append(settings)

    loaded = agent_in(answer=Agent)
    hooks_of(loaded).start()
    assert given == [loaded.settings]


def test_agents_of_one_module_start_it_once(agent_in):
    called: list[str] = []
    loaded = agent_in(startup=lambda: called.append("up"))
    hooks_of(loaded, loaded).start()
    assert called == ["up"]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_startup_that_fails_names_the_agent_and_shows_nothing(agent_in, is_async):
    def plain():
        raise ConnectionError("token=SECRET")

    async def later():
        plain()

    with pytest.raises(AgentLoadError) as raised:
        hooks_of(agent_in(startup=later if is_async else plain)).start()
    assert str(raised.value).startswith(
        "AGENT='hooked_agent:answer': its startup raised ConnectionError at "
    )
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_startup_that_does_not_end_is_not_waited_for(agent_in, is_async):
    gate = threading.Event()

    def plain():
        gate.wait(60)

    async def later():
        await asyncio.Event().wait()

    with pytest.raises(AgentLoadError, match=r"its startup did not end within 0\.05 s"):
        hooks_of(agent_in(startup=later if is_async else plain)).start(limit_s=0.05)
    gate.set()


def test_a_shutdown_that_fails_or_hangs_keeps_no_other_from_its_end(agent_in, caplog):
    gate, ended = threading.Event(), threading.Event()
    hooks = hooks_of(
        agent_in("hooked_first", shutdown=ended.set),
        agent_in("hooked_second", shutdown=lambda: 1 / 0),
    )
    hooks.start()
    hooks.stop()
    assert ended.is_set()
    hooks = hooks_of(agent_in("hooked_third", shutdown=lambda: gate.wait(60)))
    hooks.start()
    hooks.stop(limit_s=0.05)
    gate.set()
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions.count("agent_shutdown_failed") == 2


def test_a_hook_that_nobody_can_call_is_refused_when_it_is_loaded(agent_in):
    with pytest.raises(AgentLoadError, match="its startup cannot be called without an argument"):
        hooks_of(agent_in(startup=lambda one, two: None))


def test_what_startup_made_is_made_again_on_the_loop_in_place_of_a_blocked_one(agent_in):
    gate, loops = threading.Event(), list[object]()

    async def startup():
        loops.append(asyncio.get_running_loop())

    async def answer(_message):
        gate.wait(60)

    loaded, loop = agent_in(answer=answer, startup=startup), AgentLoop(turns_s=0.05)
    hooks_of(loaded, loop=loop).start()
    with pytest.raises(AgentTimeoutError):
        AgentRunner(answer, loop=loop).run(MESSAGE, limit_s=0.05)
    wait_for(lambda: len(loops) == 2, what="the second startup")
    gate.set()
    assert loops[0] is not loops[1]
