"""What the lane of commands works with: everything that answers a message, but for agents.

Built by ``worker/running/steps.py`` in the worker's main process, once the pool has forked. There
no agent is to run, and none is needed; what the bots' people wrote, and how they are answered, goes
the way of every message, save that a command waits for no turn.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from contract.commands import OVERTAKING
from contract.envelope import Envelope, EnvelopeError
from contract.sealing import Sealer, SealError
from contract.turn import Order
from dingwire.webhook import WebhookClient, WebhookHosts
from worker.answering import Answering
from worker.asking import Asking
from worker.bots import Bots
from worker.chat_commands import ChatCommands
from worker.leases import Heartbeat
from worker.outcome import Outcome
from worker.own_commands import OwnCommands, load_commands
from worker.patience import PatientStore
from worker.running.stopping_parts import build_stopping
from worker.sending.carrying import Carrier
from worker.sending.delivery import Delivery
from worker.sending.late import LateReplies
from worker.sending.pacing import Pacing
from worker.sending.resending import Resender
from worker.settings import WorkerSettings
from worker.store import DueMessage, Store
from worker.telling import metrics
from worker.thinking import CardDelivery, Shown, Thinking
from worker.turns import Turns
from worker.wiring import clock, openapi_of, store_of

__all__ = ["CommandWork", "build_command_work"]


@dataclass(frozen=True)
class CommandWork:
    """Obeys commands; shared by the threads of the lane."""

    answering: Answering
    commands: ChatCommands
    heartbeat: Heartbeat
    store: PatientStore
    sealer: Sealer

    def work(self, task_id: str, data: dict[str, Any]) -> Outcome | None:
        """Obey the command in a message, as :meth:`worker.answering.Answering.work` does.

        Returns:
            None when it is for the bot's agent: commands are off, or this one takes its turn, or
            what is wrong with the message is told there as of any other.
        """
        return self.answering.work(task_id, data) if self._is_command(data) else None

    def _is_command(self, data: dict[str, Any]) -> bool:
        try:
            envelope = Envelope.from_wire(self.sealer.unseal(data))
        except (SealError, EnvelopeError):
            return False
        command = self.commands.find(envelope)
        return command is not None and command.built_in in OVERTAKING

    def stop(self) -> None:
        """Give back what is unfinished; answers that are being posted are waited for."""
        self.heartbeat.release_all()
        self.store.stopping.set()


def build_command_work(
    settings: WorkerSettings,
    *,
    publish: Callable[[DueMessage], object],
    tell: Callable[[str, Outcome], None],
) -> CommandWork:
    """Build it, on connections of its own.

    Args:
        settings: Read before.
        publish: Puts a message whose turn has come on the broker.
        tell: Shows Flower how a task ended that is not the one at work.
    """
    bare: Store = store_of(settings)
    bots = Bots.for_sending(settings, lambda bot: openapi_of(bot, bare))
    store = PatientStore(bare, publish)
    heartbeat = Heartbeat(store_of(settings), lease_s=settings.lease_s)
    hosts = WebhookHosts.parse(settings.webhook_hosts)
    pacing = Pacing(store, replies_per_minute=settings.replies_per_minute)
    carrier = Carrier(WebhookClient(hosts), bots.openapi_of, pacing)
    late = LateReplies(store, policy=settings.late_policy, carrier=carrier, heartbeat=heartbeat)
    delivery = Delivery(
        store,
        carrier=carrier,
        late=late,
        heartbeat=heartbeat,
        clock=clock,
        language_of=bots.language_of,
    )
    thinking = Thinking(
        store,
        shown_of=lambda _: Shown(),  # there is nothing to think about
        api_of=bots.openapi_of,
        say=delivery.notify,
        spare_s=delivery.spare_s,
        heartbeat=heartbeat,
        delivery=CardDelivery(store, heartbeat=heartbeat, clock=clock),
    )
    stopping = build_stopping(
        settings, store, bots=bots, tell=tell, heartbeat=heartbeat, clock=clock
    )
    own = OwnCommands(bots, load_commands(settings))
    commands = ChatCommands(bots, stopping=stopping, own=own)
    answering = Answering(
        store,
        bots=bots,
        hosts=hosts,
        asking=cast(Asking, _NobodyAsks()),
        delivery=delivery,
        late=late,
        heartbeat=heartbeat,
        clock=clock,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=settings.lease_s,
        turns=Turns(Order.NONE, can_be_stopped=False),
        tell=tell,
        handover=None,
        resender=Resender(store, carrier=carrier, clock=clock, sealer=settings.sealer),
        thinking=thinking,
        commands=commands,
        sealer=settings.sealer,
        observe=metrics.observe,
    )
    return CommandWork(answering, commands, heartbeat, store, settings.sealer)


class _NobodyAsks:
    """In the place of what runs agents: only commands get here."""

    def ask(self, *_: Any) -> NoReturn:
        raise AssertionError("nobody runs an agent here")
