"""Names on the broker: tasks, queues, task ids and the safe face of a task's arguments.

Deployments, dashboards and messages in flight depend on every one of them.
"""

from collections.abc import Iterable
from uuid import UUID, uuid5

__all__ = [
    "ANSWER",
    "COMMAND",
    "COMMANDS",
    "DELIVER",
    "EVENTS",
    "HANDLE_CARD_ACTION",
    "HANDLE_EVENT",
    "MESSAGES",
    "QUEUES",
    "REPLIES",
    "REPORT",
    "TURNS",
    "WAKE",
    "WAKE_COMMANDS",
    "queue_arguments",
    "safe_kwargsrepr",
    "task_id",
    "wake_of",
]

ANSWER = "answer"
COMMAND = "command"
DELIVER = "deliver"
HANDLE_CARD_ACTION = "handle_card_action"
HANDLE_EVENT = "handle_event"
REPORT = "report"

MESSAGES = "messages"
REPLIES = "replies"
TURNS = "turns"  # messages that were taken before, and need not queue behind all others again
EVENTS = "events"
COMMANDS = "commands"  # overtake: taken beside the pool, whatever its slots do
QUEUES = (MESSAGES, TURNS, REPLIES, EVENTS, COMMANDS)

# On Redis, see contract/redis_broker.py.
WAKE = "dingtalk:wake"
WAKE_COMMANDS = "dingtalk:wake:commands"

_NAMESPACE = UUID("6ba20f0e-3f5c-5c1b-9d25-61f7c6b0a4d1")


def task_id(bot: str, message_id: str) -> str:
    """Return the one task id of a message, whoever enqueues it and however often.

    ``bot`` is part of it because one group message that mentions two bots reaches both with the
    same ``msgId``.
    """
    return str(uuid5(_NAMESPACE, f"{bot}\n{message_id}"))


def safe_kwargsrepr(message_id: str) -> str:
    """Return what Flower, events and logs may see of a task's arguments.

    Only the id, so that a message can be found by it; never the envelope, which holds the session
    webhook and what a person wrote.
    """
    return repr({"message_id": message_id})


def queue_arguments(broker_url: str) -> dict[str, str]:
    """Return the arguments both sides declare the queues with; they must agree to the letter.

    Quorum queues on RabbitMQ: they survive a node and a crash, and a broker upgrade keeps them.
    """
    return {"x-queue-type": "quorum"} if broker_url.startswith(("amqp://", "amqps://")) else {}


def wake_of(queues: Iterable[str]) -> str:
    """Return the list that who consumes these queues from Redis waits for."""
    return WAKE_COMMANDS if set(queues) == {COMMANDS} else WAKE
