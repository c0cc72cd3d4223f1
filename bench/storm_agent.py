"""What the storm of copies runs beside the product: an agent that counts, and an empty task.

Included in the worker by ``bench/storm.py``; never in the product.
"""

import os

import redis

from contract.routing import MESSAGES
from worker.agents.base import Message
from worker.celery import app

__all__ = ["EMPTY", "RUNS", "agent", "empty"]

EMPTY = "bench.empty"
RUNS = "bench:agent_runs"

app.conf.task_routes = {**app.conf.task_routes, EMPTY: {"queue": MESSAGES}}


@app.task(name=EMPTY)
def empty(_: object) -> None:
    """Do what a task costs at the least."""


def agent(message: Message) -> None:
    """Say nothing, and count that it was asked."""
    with redis.Redis.from_url(os.environ["BROKER_URL"]) as client:
        client.incr(RUNS)
