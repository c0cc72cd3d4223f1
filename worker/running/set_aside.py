"""Keeps what this release cannot work on: tasks it does not know, arguments it cannot use.

Called by ``worker/running/consumer.py``. While two releases share the queue, such a message may
come from the newer one; putting it back would only make it come again and again, and on RabbitMQ
use up the queue's delivery limit. It becomes a missed reply with the reason
``unsupported_version``. A chat message can be run anew once all workers are of the newer release;
of a task without one the name and the arguments are kept, and the agent is never run on it.
"""

from dataclasses import dataclass, field
from typing import Any

from contract import routing
from worker.outcome import FinalState, Outcome
from worker.settings import WorkerSettings
from worker.store import Claimed, Reason, Step, Store
from worker.wiring import store_of

__all__ = ["SetAside", "Stranger", "stranger_in"]

_LEASE_S = 60.0


@dataclass(frozen=True)
class Stranger:
    """A task that may be of a newer release.

    ``envelope`` is what the store keeps: the chat message, or the task itself in an envelope that
    no release takes for a chat message.
    """

    task_id: str
    name: str
    message_id: str
    envelope: dict[str, Any] = field(repr=False)


def stranger_in(message: Any) -> Stranger | None:
    """Return what a broker's message holds; None when it is no task that could ever be worked on.

    Whatever is wrong with it, nothing is raised.
    """
    try:
        name, id_ = message.headers["task"], message.headers["id"]
        args, kwargs, _ = message.decode()
        if not (isinstance(name, str) and isinstance(id_, str) and name and id_):
            return None
        return _read(name, id_, args, dict(kwargs))
    except Exception:  # noqa: BLE001, anything may be in a foreign message
        return None


def _read(name: str, id_: str, args: Any, kwargs: dict[str, Any]) -> Stranger:
    envelope = kwargs.get("envelope")
    if isinstance(envelope, dict) and envelope.get("bot") and envelope.get("message_id"):
        bot, message_id = str(envelope["bot"]), str(envelope["message_id"])
        return Stranger(routing.task_id(bot, message_id), name, message_id, envelope)
    # Without received_at: not an envelope, should it ever be asked for an answer.
    task = {"name": name, "args": args, "kwargs": kwargs}
    return Stranger(id_, name, id_, {"bot": "", "message_id": id_, "task": task})


class SetAside:
    """Writes strangers down; its store is opened with the first one."""

    def __init__(self) -> None:
        self._opened: tuple[WorkerSettings, Store] | None = None

    def keep(self, stranger: Stranger, why: str) -> Outcome | None:
        """Keep it as a missed reply; None when the store knows the message already.

        Args:
            stranger: From :func:`stranger_in`.
            why: One safe line.

        Raises:
            StoreError: It could not be kept.
            SettingsError: The settings cannot be read any more.
        """
        settings, store = self._open()
        claim = store.claim(
            stranger.task_id,
            owner="consumer",
            lease_s=_LEASE_S,
            envelope=settings.sealer.seal(stranger.envelope),
            steps=[_received(stranger)],
        )
        if not isinstance(claim, Claimed):
            return None
        outcome = Outcome(FinalState.FAILURE, Reason.UNSUPPORTED_VERSION, detail=why)
        store.miss(
            claim.lease,
            state=FinalState.FAILURE,
            reason=Reason.UNSUPPORTED_VERSION,
            errcode=None,
            detail=why,
            steps=[Step("finished", outcome.summary())],
        )
        return outcome

    def _open(self) -> tuple[WorkerSettings, Store]:
        if self._opened is None:
            settings = WorkerSettings.load()
            self._opened = settings, store_of(settings)
        return self._opened


_FACTS = ("bot", "message_id", "conversation_id", "conversation", "sender_staff_id", "kind")


def _received(stranger: Stranger) -> Step:
    facts = {name: stranger.envelope.get(name) for name in (*_FACTS, "deadline")}
    return Step("received", {**{k: v for k, v in facts.items() if v}, "task": stranger.name})
