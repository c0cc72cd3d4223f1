"""Checks that need nobody else: the agent, Flower's login, and limits that fit each other."""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from contract.checks import Check
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.base import AgentLoadError, wanted_turns
from worker.agents.loading import load_agent
from worker.handlers import load_handlers
from worker.settings import WorkerSettings
from worker.web import (
    NoPortError,
    PublicWithoutAuthenticationError,
    flower_arguments,
    has_login,
)

__all__ = ["check_agent", "check_flower", "check_handlers", "check_time_limits"]

# What a session webhook lives, in almost every sample; docs/protocol.md.
WEBHOOK_LIFE = timedelta(minutes=90)
# RabbitMQ's own limit for a message that is not acknowledged, unless its operator moved it.
CONSUMER_TIMEOUT = timedelta(minutes=30)
# Heroku kills 30 s after SIGTERM; what is left is for the last post and for the end itself.
HEROKU_GRACE_S = 25
# Longer than this, and what a killed worker had read is too late for most of what waits.
LONGEST_VISIBILITY_S = 300
REDIS_TRANSPORT = "contract.redis_broker:Transport"


def check_agent(
    spec: str,
    *,
    first: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
    bot: WorkerSettings | None = None,
) -> Check:
    """Return the check ``agent``; its settings as :func:`load_agent` takes them.

    Of a ``bot`` it says how much is remembered for how long, if anything is. Nothing is asked of a
    model or a server: that may cost money.
    """
    try:
        agent = load_agent(spec, first=first, last=last)
    except AgentSettingsError as error:
        missing = "; ".join(str(error).splitlines())
        return Check.fail("agent", f"{spec}: {missing}", "set, or correct, what is named")
    except AgentLoadError as error:
        return Check.fail("agent", str(error), "correct AGENT, or the module it names")
    asks = agent.settings.in_words if agent.settings is not None else ""
    remembers = "" if bot is None else _memory(bot, wanted_turns(agent.named))
    return Check.ok("agent", f"{spec}, {asks or agent.shape.kind}{remembers}")


def _memory(bot: WorkerSettings, wanted: int) -> str:
    turns = wanted if bot.history_turns is None else bot.history_turns
    if not turns:
        return ""
    whose = ", each person apart" if bot.history_by == "person" else ""
    return f"; remembers {turns} turns for {bot.history_hours:g} h{whose}"


def check_handlers(settings: WorkerSettings) -> Check:
    """Return the check ``handlers``: of card buttons and events."""
    name = "handlers"
    try:
        found = load_handlers(settings)
    except AgentLoadError as error:
        variable = str(error).partition("=")[0]
        return Check.fail(name, str(error), f"correct {variable}, or the module it names")
    if not found:
        return Check.ok(name, "none: card buttons and events are not handled")
    return Check.ok(name, ", ".join(f"{task}: {spec}" for task, spec in sorted(found)))


def check_flower(environ: Mapping[str, str] = os.environ) -> Check:
    """Return the check ``flower``: who reaches it sees all tasks, and may start some."""
    login = "set FLOWER_BASIC_AUTH=user:password, or FLOWER_AUTH and Flower's OAuth variables"
    address = environ.get("FLOWER_ADDRESS", "")
    try:
        flower_arguments([f"--address={address}"] if address else [], environ)
    except NoPortError as error:
        return Check.fail("flower", str(error), "correct PORT")
    except PublicWithoutAuthenticationError:
        is_open = environ.get("FLOWER_UNAUTHENTICATED_API", "").strip()
        return Check.fail(
            "flower",
            f"{'FLOWER_ADDRESS' if address else 'PORT'} makes Flower public, and it has no login"
            + (", while FLOWER_UNAUTHENTICATED_API opens its API to everybody" if is_open else "")
            + ": `web` refuses to start",
            login,
        )
    if has_login(environ):
        return Check.ok("flower", "behind a login")
    return Check.ok(
        "flower", "as these variables have it, `web` is for this machine alone, without a login"
    )


def check_time_limits(settings: WorkerSettings) -> Iterator[Check]:
    """Yield ``time limits``, once for each that does not fit ``AGENT_TIMEOUT_S``."""
    # Here, as it reads the settings too.
    from worker.celery import app

    found = list(_faults(settings, app.conf))
    if not found:
        found = [Check.ok("time limits", _as_designed(settings, app.conf))]
    yield from found


def _faults(settings: WorkerSettings, conf: Any) -> Iterator[Check]:
    name, timeout_s = "time limits", settings.agent_timeout_s
    shown = f"AGENT_TIMEOUT_S={timeout_s:g}"
    for limit in ("task_time_limit", "task_soft_time_limit"):
        seconds = getattr(conf, limit)
        if seconds and seconds <= timeout_s:
            yield Check.fail(
                name,
                f"Celery's {limit} ({seconds:g} s) ends tasks before {shown} does, and with them "
                "the message's story",
                f"leave {limit} out: AGENT_TIMEOUT_S is the limit",
            )
    if timeout_s > WEBHOOK_LIFE.total_seconds():
        yield Check.warn(
            name,
            f"{shown} is longer than a session webhook lives (90 minutes): such an answer is late",
            "set it to less than 5400",
        )
    elif settings.broker_url.startswith("amqp") and timeout_s > CONSUMER_TIMEOUT.total_seconds():
        yield Check.warn(
            name,
            f"{shown} is longer than RabbitMQ leaves a message with a worker (30 minutes)",
            "set it to less than 1800, or raise RabbitMQ's consumer_timeout",
        )
    if "DYNO" in os.environ and settings.shutdown_grace_s > HEROKU_GRACE_S:
        yield Check.warn(
            name,
            f"SHUTDOWN_GRACE_S={settings.shutdown_grace_s:g}, and Heroku kills 30 s after SIGTERM",
            f"set it to {HEROKU_GRACE_S} or less",
        )
    if settings.broker_url.startswith("redis"):
        yield from _redis_faults(conf.broker_transport_options)


def _redis_faults(options: Mapping[str, Any]) -> Iterator[Check]:
    """Redis gives a message to another worker when nobody said for so long that he has it."""
    name = "time limits"
    visible_s = options.get("visibility_timeout", 3600)
    every_s = options.get("unacked_restore_interval", 100)
    fix = "leave it as celeryconfig.py has it: workers renew it while they work"
    if TRANSPORT_ALIASES.get("redis") != REDIS_TRANSPORT:
        reason = "the Redis transport is not ours, so nobody renews visibility_timeout"
        yield Check.fail(name, reason, "import contract.broker before kombu connects")
    elif visible_s < 2 * every_s:
        yield Check.fail(
            name,
            f"visibility_timeout ({visible_s:g} s) is not twice as long as the time in which it is "
            f"renewed (unacked_restore_interval, {every_s:g} s): others take messages in hand",
            fix,
        )
    elif visible_s > LONGEST_VISIBILITY_S:
        yield Check.warn(
            name,
            f"what a killed worker had read waits for visibility_timeout, {visible_s:g} s",
            fix,
        )


def _as_designed(settings: WorkerSettings, conf: Any) -> str:
    words = f"one agent call may take {settings.agent_timeout_s:g} s"
    if settings.broker_url.startswith("redis"):
        seconds = conf.broker_transport_options["visibility_timeout"]
        words += f"; the visibility timeout is short ({seconds:g} s) on purpose, and renewed"
    return words
