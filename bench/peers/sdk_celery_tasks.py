"""Peer (b), its worker: ``celery -A bench.peers.sdk_celery_tasks worker``, which forks.

Late acks, as a worker that dies must not take messages with it; no results, as nobody reads them;
one HTTP session for each process. No claim, no order, no kept answer, no deadline.
"""

import os
import time
from typing import Any

import requests
from celery import Celery

__all__ = ["answer", "app"]

broker_url = os.environ["BROKER_URL"]
app = Celery("peer", broker=broker_url)
app.conf.update(
    task_default_queue="peer",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
if broker_url.startswith("amqp"):
    app.conf.broker_transport_options = {"confirm_publish": True}

session = requests.Session()
# What the agent takes; an echo takes nothing.
agent_s = float(os.environ.get("PEER_AGENT_S", "0"))


@app.task(name="answer")
def answer(message: dict[str, Any]) -> None:
    """Answer one message, through its session webhook."""
    if agent_s:
        time.sleep(agent_s)
    reply = {"msgtype": "text", "text": {"content": f"echo: {message['text']['content'].strip()}"}}
    session.post(message["sessionWebhook"], json=reply, timeout=10).raise_for_status()
