"""Loads the agent of a bot: what it is, its settings, and of a class its one object.

``worker/running/process.py`` loads all of them at start, so that a mistake is seen before the first
message; ``worker/bots.py`` builds them in each process that works.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.agents.agent_settings import AgentSettings, AgentSettingsError
from worker.agents.base import Agent, AgentLoadError, load_object, place_of
from worker.agents.shape import NotAnAgentError, Shape, shape_of

__all__ = ["LoadedAgent", "load_agent"]


@dataclass(frozen=True)
class LoadedAgent:
    """An agent as a bot has it; equal ones are one."""

    spec: str
    named: Any
    shape: Shape
    settings: AgentSettings | None = None

    def build(self) -> Agent:
        """Return what is called: of a class an object of it, made anew.

        Raises:
            AgentLoadError: The class raised; its words are not shown, as they may hold a secret,
                unless it raised this.
        """
        if not self.shape.is_class:
            return self.named  # type: ignore[no-any-return]
        try:
            return self.named(self.settings) if self.shape.takes_settings else self.named()  # type: ignore[no-any-return]
        except AgentLoadError as error:
            raise AgentLoadError(f"AGENT={self.spec!r}: {error}") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001, an agent raises what it likes
            raise AgentLoadError(
                f"AGENT={self.spec!r}: building it raised {type(error).__name__}{place_of(error)}"
            ) from None


def load_agent(
    spec: str,
    *,
    first: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
) -> LoadedAgent:
    """Import the agent that ``AGENT`` names, and read its settings.

    Args:
        spec: As for :func:`worker.agents.base.load_object`.
        first: Settings that win over the environment, by field name.
        last: Settings that the environment wins over.

    Raises:
        AgentLoadError: Saying what does not hold, and what would.
        AgentSettingsError: Its settings are wrong, or ``first`` is for an agent that takes none.
    """
    found = load_object("AGENT", spec)
    try:
        shape = shape_of(found)
    except NotAnAgentError as error:
        raise AgentLoadError(f"AGENT={spec!r} {error}") from None
    settings = None
    if shape.settings is not None:
        if not shape.settings.model_config.get("env_prefix"):
            raise AgentLoadError(
                f"AGENT={spec!r}: {shape.settings.__name__} has no prefix: write "
                f'class {shape.settings.__name__}(AgentSettings, env_prefix="MY_AGENT_")'
            )
        settings = shape.settings.load(first=first, last=last)
    elif first:
        raise AgentSettingsError(f"agent_settings: AGENT={spec!r} takes no settings")
    return LoadedAgent(spec, found, shape, settings)
