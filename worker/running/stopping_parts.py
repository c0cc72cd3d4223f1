"""What stops the messages of conversations, with what clears away what people saw of them.

Put together for the lane of commands, which runs no agent, and for the workers' tasks. A worker
that lives clears away itself what it shows of a message; what nobody has in hand is cleared away
here.
"""

from collections.abc import Callable
from datetime import datetime

from contract.envelope import Envelope, EnvelopeError
from contract.sealing import SealError
from worker.bots import Bots
from worker.leases import Heartbeat
from worker.outcome import Outcome
from worker.patience import PatientStore
from worker.settings import WorkerSettings
from worker.stopping import Stopping
from worker.store import StoppedMessage
from worker.telling import metrics
from worker.thinking import CardDelivery, Thinking

__all__ = ["build_stopping"]


def build_stopping(
    settings: WorkerSettings,
    store: PatientStore,
    *,
    bots: Bots,
    tell: Callable[[str, Outcome], None],
    heartbeat: Heartbeat,
    clock: Callable[[], datetime],
) -> Stopping:
    """Return what stops the messages of conversations.

    Args:
        settings: Read before.
        store: What is remembered.
        bots: By whose API reactions and cards are put away that no worker would.
        tell: Shows Flower how a task ended that is not the running one.
        heartbeat: Of this process.
        clock: Ours, aware UTC.
    """
    thinking = Thinking(
        store,
        shown_of=bots.shown_of,
        api_of=bots.openapi_of,
        say=lambda _envelope, _words: None,
        spare_s=lambda _: None,
        heartbeat=heartbeat,
        delivery=CardDelivery(store, heartbeat=heartbeat, clock=clock),
    )

    def put_away(message: StoppedMessage) -> None:
        if message.state == "parked":  # nothing was shown of it
            return
        try:
            envelope = Envelope.from_wire(settings.sealer.unseal(message.envelope))
        except (SealError, EnvelopeError):
            return
        thinking.put_away(message.task_id, envelope, sent=message.sent)

    return Stopping(
        store,
        hold_s=settings.lease_s,
        tell=tell,
        observe=metrics.observe,
        put_away=put_away,
    )
