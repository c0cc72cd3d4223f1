"""``celery -A worker doctor``: is everything there that an answer needs?

``worker/commands/doctor.py`` asks :func:`diagnose`, ``worker/release.py`` asks some of the modules.
Each module has the checks of one subject. What can be looked at independently is looked at at once,
and a check that fails keeps none of the others from being made, save those that rest on it.
"""

from collections.abc import Iterator
from concurrent.futures import Future

from contract.broker import Broker
from contract.broker_check import check_broker
from contract.checks import Check, Examination, Status, examine
from contract.routing import EVENTS
from contract.settings_checks import check_settings
from dingwire.probe import DINGTALK, Bot, about_dingtalk, about_webhooks, send_test
from worker.doctor.own import check_agent, check_flower, check_time_limits
from worker.doctor.processes import PROCESSES, Notes, check_processes
from worker.doctor.queues import check_queues
from worker.doctor.remembered import check_budget, check_deliveries, check_missed, check_store
from worker.queues import BrokerAwayError, read_queues
from worker.settings import WorkerSettings
from worker.store import Store, StoreError
from worker.wiring import clock, store_of

__all__ = ["LIMIT_S", "diagnose"]

LIMIT_S = 20.0
KEPT = ("missed replies", "deliveries", "api budget")  # what only the store knows


def diagnose(
    settings: WorkerSettings, *, deep: bool = False, send_test_to: str | None = None
) -> list[Check]:
    """Make every check.

    Args:
        settings: What the workers read, as far as they run with the same environment.
        deep: Whether to open a Stream connection for a moment.
        send_test_to: Staff id of the person who is to get a message, if anybody is.
    """
    bot = _bot(settings)
    rescues = settings.late_policy == "rescue"
    notes: Future[Notes | None] = Future()
    examinations = [
        Examination(("settings",), check_settings),
        Examination(("agent",), lambda: [check_agent(settings.agent)]),
        Examination((*DINGTALK, "proactive"), lambda: _dingtalk(bot, deep=deep, rescues=rescues)),
        Examination(
            ("webhooks",), lambda: [Check.of("webhooks", about_webhooks(settings.webhook_hosts))]
        ),
        Examination(("broker", "queues"), lambda: _broker(settings, notes)),
        Examination(("time limits",), lambda: check_time_limits(settings)),
        Examination(("store", *KEPT, *PROCESSES), lambda: _store(settings, notes)),
        Examination(("flower",), lambda: [check_flower()]),
    ]
    if send_test_to:
        examinations.append(
            Examination(
                ("send test",), lambda: [Check.of("send test", send_test(bot, send_test_to))]
            )
        )
    return examine(examinations, limit_s=LIMIT_S)


def _bot(settings: WorkerSettings) -> Bot:
    secret = settings.client_secret
    return Bot(
        endpoint=settings.openapi_endpoint,
        client_id=settings.client_id or "",
        client_secret=secret.get_secret_value() if secret else "",
        clock=clock,
    )


def _dingtalk(bot: Bot, *, deep: bool, rescues: bool) -> Iterator[Check]:
    for name, finding in about_dingtalk(bot, deep=deep, with_permission=rescues):
        yield Check.of(name, finding)
    if not rescues:
        yield Check.skip("proactive", "needed with LATE_POLICY=rescue alone")


def _broker(settings: WorkerSettings, notes: "Future[Notes | None]") -> Iterator[Check]:
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    check = check_broker(broker)
    yield check
    if check.status is Status.FAIL:
        yield Check.skip("queues", "the broker cannot be used")
    else:
        yield check_queues(broker, notes)


def _store(settings: WorkerSettings, notes: "Future[Notes | None]") -> Iterator[Check]:
    try:
        store = store_of(settings)
        check = check_store(store, settings.store_address)
    except StoreError as error:
        check = Check.fail("store", str(error), "correct STORE_URL, or the add-on's variable")
    yield check
    if check.status is Status.FAIL:
        notes.set_result(None)
        for name in KEPT:
            yield Check.skip(name, "the store cannot be read")
        yield from check_processes(settings, None)
        return
    try:
        yield from _remembered(settings, store, notes)
    finally:
        store.close()


def _remembered(
    settings: WorkerSettings, store: Store, notes: "Future[Notes | None]"
) -> Iterator[Check]:
    found = Notes.read(store)
    notes.set_result(found)
    yield check_missed(store)
    yield check_deliveries(store)
    yield check_budget(store, settings, clock())
    yield from check_processes(settings, found, lambda: _reports_waiting(settings))


def _reports_waiting(settings: WorkerSettings) -> int | None:
    try:
        queues = read_queues(Broker.from_url(settings.broker_url, settings.data_dir), peek=1)
    except BrokerAwayError:  # said under broker
        return None
    return queues[EVENTS].depth
