"""Puts the worker's parts together, once a process; reads the clock for all of them.

A prefork child builds its own: connections and threads do not survive a fork.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contract.envelope import Envelope
from dingwire.cards import Cards
from dingwire.media import MediaClient
from dingwire.media_hosts import MediaHosts
from dingwire.openapi import OpenApiClient
from dingwire.uploads import Uploads
from dingwire.webhook import WebhookClient, WebhookHosts
from worker.agents.attachment_files import AttachmentFiles
from worker.agents.base import Agent
from worker.agents.loop import AgentLoop
from worker.agents.runner import AgentRunner
from worker.answering import Answering
from worker.asking import Asking
from worker.bots import Bots
from worker.chat_commands import ChatCommands
from worker.denials import Denials
from worker.handlers import Handlers, load_handlers
from worker.leases import Heartbeat
from worker.memory import Memory
from worker.outcome import Outcome
from worker.own_commands import OwnCommands, load_commands
from worker.patience import PatientStore
from worker.pushes import PushWork
from worker.running.lost_threads import LostThreads
from worker.running.pool import hand_back_when_ended
from worker.running.stopping_parts import build_stopping
from worker.sending.api_gate import ApiGate
from worker.sending.apology import Apology
from worker.sending.budget import ApiBudget
from worker.sending.carrying import Carrier
from worker.sending.delivery import Delivery
from worker.sending.handover import Handover
from worker.sending.late import LateReplies
from worker.sending.pacing import Pacing
from worker.sending.resending import Resender
from worker.sending.saying import Saying
from worker.sending.shared_token import SharedToken
from worker.sending.uploading import Uploading
from worker.settings import WorkerSettings
from worker.store import DueMessage, Store, open_store
from worker.telling import metrics
from worker.thinking import CardDelivery, Thinking
from worker.turns import Turns

__all__ = [
    "Runtime",
    "begin",
    "build",
    "clear_up",
    "clock",
    "lost_threads",
    "openapi_of",
    "runtime",
    "stop",
    "store_of",
]

_DAY_S = 86_400
_MEGABYTE = 1024 * 1024


def clock() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def store_of(settings: WorkerSettings) -> Store:
    """Return the store the settings name, not yet connected."""
    return open_store(settings.store_address, missed_ttl_s=settings.keep_missed_days * _DAY_S)


@dataclass(frozen=True)
class Runtime:
    """What the tasks of one process work with."""

    pid: int
    answering: Answering
    heartbeat: Heartbeat
    store: PatientStore
    bots: Bots
    pushes: PushWork
    denials: Denials
    handlers: Handlers
    commands: OwnCommands
    thinking: Thinking

    def stop(self) -> None:
        """Give back what is unfinished, then end what can be ended.

        In this order, so that a cancelled agent's end finds its lease gone and decides nothing.
        Replies that are being posted are waited for, and for the store to record them.
        """
        self.heartbeat.release_all()
        self.store.stopping.set()
        self.bots.cancel_all()
        self.handlers.cancel_all()
        self.commands.cancel_all()
        self.thinking.stop()


def openapi_of(settings: WorkerSettings, store: Store) -> OpenApiClient | None:
    """Return the API of the bot the settings are of; None without its credentials.

    Args:
        settings: Of this bot.
        store: By which all processes share the token, the pace and the budget.
    """
    if not settings.client_id or settings.client_secret is None:
        return None
    client_id, calls = settings.client_id, settings.api_budget
    return OpenApiClient(
        endpoint=settings.openapi_endpoint,
        client_id=client_id,
        client_secret=settings.client_secret.get_secret_value(),
        clock=clock,
        tokens=SharedToken(
            store,
            client_id=client_id,
            endpoint=settings.openapi_endpoint,
            sealer=settings.sealer,
            clock=clock,
        ),
        gate=ApiGate(
            store,
            client_id=client_id,
            calls_per_s=settings.api_qps,
            budget=None
            if calls is None
            else ApiBudget(store, client_id=client_id, calls=calls, clock=clock),
        ),
    )


def media_of(settings: WorkerSettings, api: OpenApiClient | None) -> MediaClient | None:
    """Return what fetches for the bot of ``api``; None without its credentials."""
    if api is None:
        return None
    return MediaClient(
        api,
        MediaHosts.parse(settings.media_hosts),
        max_bytes=round(settings.media_max_mb * _MEGABYTE),
        timeout_s=settings.media_timeout_s,
    )


def build(
    settings: WorkerSettings,
    *,
    publish: Callable[[DueMessage], object],
    tell: Callable[[str, Outcome], None],
) -> Runtime:
    """Build a runtime.

    Args:
        settings: Read before.
        publish: Puts a message whose turn has come on the broker.
        tell: Shows Flower how a task ended that is not the running one.

    Raises:
        AgentLoadError: ``AGENT``, a handler's variable, or a bot's own, names nothing that can be
            called.
    """
    bare, loop = store_of(settings), AgentLoop()

    def runner(agent: Agent, own: Any) -> AgentRunner:
        return AgentRunner(
            agent,
            settings=own,
            loop=loop,
            on_abandoned=lambda _: lost_threads.add(),
            on_returned=lost_threads.remove,
        )

    bots = Bots.build(
        settings,
        runner=runner,
        openapi=lambda bot: openapi_of(bot, bare),
        loop=loop,
    )
    commands = OwnCommands(bots, load_commands(settings), runner=runner)
    handlers = Handlers(
        bots,
        load_handlers(settings),
        loop=loop,
        on_abandoned=lambda _: lost_threads.add(),
        on_returned=lost_threads.remove,
    )
    sealer = settings.sealer
    store = PatientStore(bare, publish)
    hosts = WebhookHosts.parse(settings.webhook_hosts)
    # On a store of its own, one connection more a process: a lease must not run out while its
    # renewal queues for a connection behind everything else that a slow store is asked.
    heartbeat = Heartbeat(store_of(settings), lease_s=settings.lease_s)
    pacing = Pacing(store, replies_per_minute=settings.replies_per_minute)
    language_of = bots.language_of
    carrier = Carrier(WebhookClient(hosts), bots.openapi_of, pacing, language_of=language_of)
    late = LateReplies(store, policy=settings.late_policy, carrier=carrier, heartbeat=heartbeat)
    delivery = Delivery(
        store,
        carrier=carrier,
        late=late,
        heartbeat=heartbeat,
        clock=clock,
        language_of=language_of,
    )
    thinking = Thinking(
        store,
        shown_of=bots.shown_of,
        api_of=bots.openapi_of,
        say=delivery.notify,
        spare_s=delivery.spare_s,
        heartbeat=heartbeat,
        delivery=CardDelivery(store, heartbeat=heartbeat, clock=clock),
    )
    resender = Resender(store, carrier=carrier, clock=clock, sealer=sealer, language_of=language_of)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    handover = Handover(
        store,
        delivery=delivery,
        heartbeat=heartbeat,
        owner=owner,
        lease_s=settings.lease_s,
        tell=tell,
        sealer=sealer,
        language_of=language_of,
        observe=metrics.observe,
    )

    def media_source(envelope: Envelope) -> MediaClient | None:
        return media_of(settings, bots.openapi_of(envelope))

    files = AttachmentFiles(settings.data_dir, source_of=media_source)
    files.sweep()
    uploading = Uploading(Uploads(), bots.openapi_of, language_of=language_of)
    saying = Saying(
        carrier, uploading=uploading, admit=store.admit, heartbeat=heartbeat, clock=clock
    )
    apology = Apology(
        store,
        say=delivery.notify,
        spare_s=delivery.spare_s,
        is_wanted=lambda envelope: bots.of(envelope).settings.failed_notice,
        language_of=language_of,
        heartbeat=heartbeat,
    )
    memory = Memory(store, bots=bots, sealer=sealer, clock=clock)
    asking = Asking(
        store,
        bots=bots,
        uploading=uploading,
        late=late,
        saying=saying,
        apology=apology,
        heartbeat=heartbeat,
        files=files,
        memory=memory,
        clock=clock,
        sealer=sealer,
    )
    stopping = build_stopping(
        settings, store, bots=bots, tell=tell, heartbeat=heartbeat, clock=clock
    )
    answering = Answering(
        store,
        bots=bots,
        hosts=hosts,
        asking=asking,
        delivery=delivery,
        late=late,
        heartbeat=heartbeat,
        clock=clock,
        owner=owner,
        lease_s=settings.lease_s,
        turns=Turns(settings.order, settings.burst, settings.max_waiting),
        tell=tell,
        handover=handover if settings.hands_over else None,
        resender=resender,
        thinking=thinking,
        commands=ChatCommands(bots, stopping=stopping, memory=memory, own=commands),
        apology=apology,
        sealer=sealer,
        observe=metrics.observe,
    )
    pushes = PushWork(
        store,
        runner_of=handlers.of,
        cards_of=lambda push: _cards_of(bots, push.client_id),
        heartbeat=heartbeat,
        clock=clock,
        owner=owner,
        lease_s=settings.lease_s,
        limit_s=lambda push: bots.of_app(push.client_id).settings.agent_timeout_s,
        sealer=sealer,
        observe=metrics.pushed,
    )
    denials = Denials(store, carrier, clock=clock, sealer=sealer, language_of=language_of)
    return Runtime(
        os.getpid(),
        answering,
        heartbeat,
        store,
        bots,
        pushes,
        denials,
        handlers,
        commands,
        thinking,
    )


def _cards_of(bots: Bots, client_id: str) -> Cards | None:
    openapi = bots.of_app(client_id).openapi
    return None if openapi is None else Cards(openapi)


lost_threads = LostThreads()


_runtime: Runtime | None = None
_hands_back = 0  # the process that has been told to


def begin(
    *, publish: Callable[[DueMessage], object], tell: Callable[[str, Outcome], None]
) -> Runtime:
    """Return this process's runtime; the first call builds it and starts the agents.

    Called at the start of a process (``worker/running/starting.py``), where nothing else has done
    so by its first task.

    Raises:
        AgentLoadError: An agent cannot be built, or its startup failed.
    """
    global _runtime
    if _runtime is None or _runtime.pid != os.getpid():
        made = build(WorkerSettings.load(), publish=publish, tell=tell)
        made.bots.start()
        _runtime = made
    return _runtime


def runtime(
    *, publish: Callable[[DueMessage], object], tell: Callable[[str, Outcome], None]
) -> Runtime:
    """Return what a task works with, as :func:`begin` does.

    Called under Celery's pool, whose parent has read the same settings before.
    """
    global _hands_back
    found = begin(publish=publish, tell=tell)
    if _hands_back != found.pid:
        _hands_back = found.pid
        hand_back_when_ended(stop)
    return found


def stop() -> None:
    """Stop this process's runtime, if it has one."""
    if _runtime is not None and _runtime.pid == os.getpid():
        _runtime.stop()


def clear_up() -> None:
    """Take off what this process shows of work that is done, and let the agents shut down.

    For one that ends in order.
    """
    if _runtime is not None and _runtime.pid == os.getpid():
        _runtime.thinking.stop()
        _runtime.bots.shut_down()
