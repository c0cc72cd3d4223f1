"""The bots that this worker answers for: each with its agent, its API and its settings.

``worker/wiring.py`` makes one :class:`Bots` a process; whoever needs what is a bot's own asks it by
the envelope.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from contract.envelope import Envelope
from contract.written import written_in
from dingwire.openapi import OpenApiClient
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.base import Agent, AgentLoadError, Message
from worker.agents.context import Context
from worker.agents.hooks import Hooks
from worker.agents.loading import LoadedAgent, load_agent
from worker.agents.loop import AgentLoop
from worker.agents.pieces import OnPiece
from worker.settings import WorkerSettings
from worker.thinking import Shown
from worker.words import Language, Spoken

__all__ = ["BotParts", "Bots", "Runner", "UnknownBotError", "load_agents", "own_settings"]


class Runner(Protocol):
    """The part of :class:`worker.agents.runner.AgentRunner` that is a bot's own."""

    settings: Any
    """The agent's own; None of one that names none."""

    def run(
        self, message: Message, *, context: Context[Any], limit_s: float, on_piece: OnPiece
    ) -> Any:
        """Run the agent."""

    def cancel_all(self) -> None:
        """End what can be ended."""

    @property
    def reads(self) -> frozenset[str]:
        """Kinds of message that the agent makes something of by itself."""

    @property
    def history_turns(self) -> int:
        """How many turns the agent wants to be reminded of."""

    @property
    def history_tokens(self) -> int | None:
        """How many tokens of them it wants at most; None: any number."""


class _NoRunner:
    """In the place of a runner where only sending is done."""

    settings = None

    def run(
        self, message: Message, *, context: Context[Any], limit_s: float, on_piece: OnPiece
    ) -> Any:
        raise AssertionError("nobody runs an agent here")

    def cancel_all(self) -> None:
        """Nothing runs."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    @property
    def history_turns(self) -> int:
        return 0

    @property
    def history_tokens(self) -> int | None:
        return None


class UnknownBotError(LookupError):
    """No bot of this worker's settings is the one that a message was written to."""

    def __init__(self, bot: str) -> None:
        super().__init__(bot)
        self.bot = bot

    def __str__(self) -> str:
        return f"no bot {self.bot} in this worker's settings"


@dataclass(frozen=True)
class BotParts:
    """What is one bot's own; ``openapi`` is None without its credentials."""

    settings: WorkerSettings
    runner: Runner
    openapi: OpenApiClient | None

    @property
    def codes(self) -> frozenset[str]:
        """What an envelope may call it: its client id and its robot code."""
        names = (self.settings.client_id, self.settings.robot_code)
        return frozenset(name for name in names if name)


class Bots:
    """All bots of a process; shared by its threads."""

    def __init__(
        self,
        parts: Sequence[BotParts],
        *,
        default: BotParts | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Prepare.

        Args:
            parts: Of each bot.
            default: Whose messages are those that do not say by which app they came; also all
                others, while nothing tells who it is itself.
            hooks: What their agents do before the first message and after the last.
        """
        self._parts, self._default, self._hooks = tuple(parts), default, hooks
        self._by_client_id = {part.settings.client_id: part for part in self._parts}
        self._by_code = {code: part for part in self._parts for code in part.codes}

    @classmethod
    def build(
        cls,
        settings: WorkerSettings,
        *,
        runner: Callable[[Agent, Any], Runner],
        openapi: Callable[[WorkerSettings], OpenApiClient | None],
        loop: AgentLoop | None = None,
    ) -> Self:
        """Build the parts of every bot; bots whose agent and settings of it are the same share it.

        Args:
            settings: Of all bots.
            runner: Makes what runs an agent, of the agent and its settings.
            openapi: Makes the API of a bot.
            loop: Where the async hooks of the agents are called; one of its own, if left out.

        Raises:
            AgentLoadError: Naming every agent that cannot be loaded, and whose it is; or the first
                one that cannot be built.
        """
        made: list[tuple[LoadedAgent, Agent, Runner]] = []
        runners = dict[int, Runner]()
        for bot, loaded in zip(settings.of_bots, load_agents(settings), strict=True):
            found = next((its for known, _, its in made if known == loaded), None)
            if found is None:
                agent = loaded.build()
                found = runner(agent, loaded.settings)
                made.append((loaded, agent, found))
            runners[id(bot)] = found
        hooks = Hooks([(loaded, agent) for loaded, agent, _ in made], loop or AgentLoop())
        return cls._with(settings, lambda bot: runners[id(bot)], openapi, hooks)

    @classmethod
    def for_sending(
        cls, settings: WorkerSettings, openapi: Callable[[WorkerSettings], OpenApiClient | None]
    ) -> Self:
        """Build what sends kept answers; no agent is imported."""
        return cls._with(settings, lambda _: _NoRunner(), openapi)

    @classmethod
    def _with(
        cls,
        settings: WorkerSettings,
        runner: Callable[[WorkerSettings], Runner],
        openapi: Callable[[WorkerSettings], OpenApiClient | None],
        hooks: Hooks | None = None,
    ) -> Self:
        parts = [BotParts(bot, runner(bot), openapi(bot)) for bot in settings.of_bots]
        is_clear = len(parts) == 1 or settings.client_id
        return cls(parts, default=parts[0] if is_clear else None, hooks=hooks)

    def start(self) -> None:
        """Call the startups of the agents, once a process.

        Raises:
            AgentLoadError: Naming the agent whose startup failed.
        """
        if self._hooks is not None:
            self._hooks.start()

    def shut_down(self) -> None:
        """Call the shutdowns of the agents, within a few seconds."""
        if self._hooks is not None:
            self._hooks.stop()

    def of(self, envelope: Envelope) -> BotParts:
        """Return the parts of the bot that the message was written to.

        Raises:
            UnknownBotError: None of ours is.
        """
        found = self._find(envelope)
        if found is None:
            raise UnknownBotError(envelope.client_id or envelope.bot)
        return found

    def of_app(self, client_id: str) -> BotParts:
        """Return the parts of the bot of an app.

        Raises:
            UnknownBotError: None of ours is.
        """
        found = self._by_client_id.get(client_id)
        if found is None and (self._default is None or self._default.settings.client_id):
            raise UnknownBotError(client_id)
        return found or self._default  # type: ignore[return-value]  # one of them is there

    def openapi_of(self, envelope: Envelope) -> OpenApiClient | None:
        """Return the API of the message's bot; None without its credentials."""
        found = self._find(envelope)
        return found.openapi if found else None

    def shown_of(self, envelope: Envelope) -> Shown:
        """Return what the message's bot shows while its agent works; nothing of an unknown one."""
        found = self._find(envelope)
        if found is None:
            return Shown()
        return replace(found.settings.shown, language=self.language_of(envelope))

    def language_of(self, envelope: Envelope, told: str = "") -> Language:
        """Return in what language, and words, the message's bot speaks of its own accord.

        With ``BOT_LANGUAGE=auto`` in that of the message; in both when it does not show. ``told``
        is the message's language where the envelope lacks its words; empty when it has them.
        """
        found = self._find(envelope)
        shows: Spoken | None = "zh" if told == "zh" else "en" if told else written_in(envelope)
        return found.settings.language(shows) if found else shows or "both"

    def cancel_all(self) -> None:
        """End what agents can be ended; for a process that must end."""
        for part in self._parts:
            part.runner.cancel_all()

    def close(self) -> None:
        """Close the kept connections."""
        for part in self._parts:
            if part.openapi is not None:
                part.openapi.close()

    def _find(self, envelope: Envelope) -> BotParts | None:
        default = self._default
        if default is not None and not default.settings.client_id:
            return default
        if envelope.client_id:
            return self._by_client_id.get(envelope.client_id)
        return self._by_code.get(envelope.bot, default)


def own_settings(settings: WorkerSettings, bot: WorkerSettings) -> dict[str, Mapping[str, Any]]:
    """Return what the settings of all bots, and of this one, hold for its agent.

    Returns:
        As :func:`worker.agents.loading.load_agent` takes them.
    """
    own = {table.client_id: table.agent_settings for table in settings.bots}
    return {"first": own.get(bot.client_id or "", {}), "last": settings.agent_settings}


def load_agents(settings: WorkerSettings) -> list[LoadedAgent]:
    """Import the agents of all bots, and read their settings; no class of them is built.

    Returns:
        One for each of ``settings.of_bots``.

    Raises:
        AgentSettingsError: Settings of an agent are wrong, and all agents can be loaded.
        AgentLoadError: Naming every one that cannot be loaded, and whose it is.
    """
    bots, agents = settings.of_bots, list[LoadedAgent]()
    faults, wrong = list[str](), list[str]()
    for bot in bots:
        whose = f"bot {bot.label}: " if len(bots) > 1 else ""
        try:
            agents.append(load_agent(bot.agent, **own_settings(settings, bot)))
        except AgentSettingsError as error:
            wrong += [f"{whose}{line}" for line in str(error).splitlines()]
        except AgentLoadError as error:
            faults.append(f"{whose}{error}")
    if faults:
        raise AgentLoadError("\n".join(faults))
    if wrong:
        raise AgentSettingsError("\n".join(wrong))
    return agents
