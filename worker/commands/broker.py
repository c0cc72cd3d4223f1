"""What the operator's commands put on the broker: news for Flower, and messages to run anew.

Celery's tasks are imported when they are needed, as most commands do without them. A broker that is
away spoils nothing: the store has recorded what was done.
"""

import logging

from worker.outcome import Outcome
from worker.store import DueMessage

__all__ = ["publish", "tell", "tell_end"]

logger = logging.getLogger(__name__)

# Flower lists who sends events among the workers: one name for all operators, not one for each.
_SENDER = "late@operator"
# Flower lets another state take the place of FAILURE only after a RETRY.
_TAKEN_UP = Outcome(None, detail="taken up by an operator", retry_in_s=0)


def tell_end(task_id: str, outcome: Outcome) -> None:
    """Show in Flower that an operator has ended a message that was unfinished."""
    _tell(task_id, outcome)


def tell(task_id: str, outcome: Outcome | None = None) -> None:
    """Show in Flower that a missed reply was taken up, and with what outcome, if it has one."""
    _tell(task_id, *([_TAKEN_UP] if outcome is None else [_TAKEN_UP, outcome]))


def _tell(task_id: str, *outcomes: Outcome) -> None:
    try:
        from worker.tasks import tell_of_another

        tell_of_another(task_id, *outcomes, sender=_SENDER)
    except Exception as error:  # noqa: BLE001, the broker's clients raise what they like
        logger.warning("Flower will not see what was done: %s", type(error).__name__)


def publish(message: DueMessage) -> bool:
    """Put a message on its queue; False when the broker is away, for a worker's sweep to do it."""
    try:
        from worker.tasks import publish as publish_task

        publish_task(message)
    except Exception as error:  # noqa: BLE001, as above
        logger.warning("cannot publish the message now: %s", type(error).__name__)
        return False
    return True
