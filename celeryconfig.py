"""Every Celery setting of the worker, with its reason.

Loaded by ``worker/celery.py``, so by ``celery -A worker …`` of any kind. Loading it validates
nothing: on a broken setup it falls back to defaults, so that operator commands can start and say
what is wrong; ``worker/running/process.py`` refuses to run a worker on it.
"""

import os
import sys
from urllib.parse import parse_qsl, urlsplit

import worker.running.sigterm  # noqa: F401, acts at a worker's start
from contract.broker import Broker
from contract.routing import (
    ANSWER,
    COMMAND,
    COMMANDS,
    DELIVER,
    EVENTS,
    HANDLE_CARD_ACTION,
    HANDLE_EVENT,
    MESSAGES,
    REPLIES,
    REPORT,
)
from contract.settings import Settings, SettingsError

try:
    _settings = Settings.load()
except SettingsError:
    _settings = Settings.model_construct()

_broker = Broker.from_url(_settings.broker_url, _settings.data_dir)
_is_redis = _settings.broker_url.startswith("redis")

# The broker. ``embedded://`` is registered by contract.broker.
broker_url = _broker.url
broker_transport_options = dict(_broker.transport_options)
if _is_redis:
    # Redis gives a message that was not acknowledged to somebody else when its worker did not say
    # for this many seconds that it has it (contract/redis_broker.py). Short, because a claim in the
    # store, not this, keeps a message from being worked on twice.
    broker_transport_options["visibility_timeout"] = 10
    # How often each worker looks for those (kombu's: every 100 s), and how long one that dies
    # meanwhile keeps the others from it (kombu's: 300 s).
    broker_transport_options["unacked_restore_interval"] = 5
    broker_transport_options["unacked_restore_throttle"] = 1
    broker_transport_options["unacked_mutex_expire"] = 5
    # A Redis that is gone without a word (failover, firewall) would hold the event loop for ever in
    # the first command that waits for an answer; and a worker would wait 51 s for messages on a
    # connection nobody writes to.
    broker_transport_options["socket_timeout"] = 5.0
    broker_transport_options["socket_connect_timeout"] = 5.0
    broker_transport_options["health_check_interval"] = 5
if _broker.url.startswith("rediss://"):
    # The certificate rule of contract/broker.py once more: kombu reads the one in the URL, Flower's
    # page of queues this one, and Heroku's certificates are signed by nobody known.
    broker_use_ssl = {k: v for k, v in parse_qsl(urlsplit(_broker.url).query) if k[:4] == "ssl_"}
if _broker.is_embedded:
    # How long a stop signal may go unnoticed.
    broker_transport_options["longest_wait_s"] = 0.5
# A worker outlives its broker: it tries again for ever, at its start too.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Notices a dead RabbitMQ within a minute, as the listener does (listener/publisher.py), and keeps
# what is between us from closing a quiet connection. For those that consume and those of events: on
# the others nobody could send it, and RabbitMQ would close them.
broker_heartbeat = 30
# Connections that publish what is due next; a worker's threads share them, and need one for a
# millisecond. Small plans allow some 20 in all (CloudAMQP's free one, Heroku's smallest Redis).
# Flower stops for good when there are too few for what it asks at once, as each question holds one
# while it waits for another: eight, or two as the Procfile starts it (worker/web.py).
broker_pool_limit = 10 if "flower" in sys.argv else 2

# Queues: declared alike by the listener, hence by nobody else on the fly.
task_queues = _broker.queues()
task_default_queue = MESSAGES
task_create_missing_queues = False
task_routes = {
    ANSWER: {"queue": MESSAGES},
    COMMAND: {"queue": COMMANDS},
    DELIVER: {"queue": REPLIES},
    REPORT: {"queue": EVENTS},
    HANDLE_CARD_ACTION: {"queue": EVENTS},
    HANDLE_EVENT: {"queue": EVENTS},
}

# JSON only: pickle runs code from the broker.
task_serializer = result_serializer = event_serializer = "json"
accept_content = result_accept_content = ["json"]

# A message leaves the broker when it is finished, not when a worker takes it.
task_acks_late = True
task_reject_on_worker_lost = True
# A worker takes what it works on and no more, so that a waiting message is anybody's.
worker_prefetch_multiplier = 1
# kombu reads ahead on Redis all the same; what is read and not claimed would wait for the
# visibility timeout.
worker_disable_prefetch = _is_redis
# A pool's process that is not up by then is killed: longer than an agent's startup may take
# (worker/agents/hooks.py).
worker_proc_alive_timeout = 75.0
# How long a prefork worker waits for the result of a child that is gone, also while it stops.
worker_lost_wait = 2.0
# Stopping: SIGTERM lets agents go on for SHUTDOWN_GRACE_S, then their messages go back, before a
# platform's 30 s are over (worker/running/pool.py, worker/running/process.py). Celery's soft
# shutdown does not do that: with threads it fails on its way, and with prefork it leaves the leases
# to run out. And it needs REMAP_SIGTERM on Heroku, which worker/running/sigterm.py therefore sets
# aside.
worker_soft_shutdown_timeout = 0
# The store is the record. A result backend is optional; Flower lives on events.
task_ignore_result = True
result_backend = os.environ.get("RESULT_BACKEND") or None

# Events, for Flower. The task's own `task-flagged` and the like are sent by worker/tasks.py.
task_track_started = True
worker_send_task_events = True

# A lost broker connection does not stop an agent: its message comes again, meets the living
# claim and is dropped.
worker_cancel_long_running_tasks_on_connection_loss = False
# With it on, a worker would work on fewer messages after each reconnection; claims make that
# caution needless.
worker_enable_prefetch_count_reduction = False

# Ours: no task body in a log, no message lost to a task name this release does not know.
worker_consumer = "worker.running.consumer:Consumer"
# worker_pool and worker_concurrency are not set here: worker_pool would make -P prefork on the
# command line do nothing. worker/running/process.py reads WORKER_POOL and WORKER_CONCURRENCY.

# Logging is set up by contract/log.py, for every process alike.
worker_hijack_root_logger = False
worker_redirect_stdouts = False

enable_utc = True
timezone = "UTC"
