"""``celery -A worker doctor``: is everything there that an answer needs?

``worker/commands/doctor.py`` asks :func:`diagnose`, ``worker/release.py`` asks some of the modules.
Each module has the checks of one subject. What can be looked at independently is looked at at once,
and a check that fails keeps none of the others from being made, save those that rest on it.
"""

from collections.abc import Iterator
from concurrent.futures import Future

from contract.broker import Broker
from contract.broker_check import check_broker
from contract.checks import Check, Examination, Status, examine, named
from contract.routing import EVENTS
from contract.settings_checks import check_settings
from dingwire.probe import DINGTALK, OF_A_BOT, Bot, about_dingtalk, about_webhooks, send_test
from worker.bots import own_settings
from worker.doctor.own import check_agent, check_flower, check_handlers, check_time_limits
from worker.doctor.processes import Notes, check_processes, names_of_processes
from worker.doctor.queues import check_queues
from worker.doctor.remembered import check_budget, check_deliveries, check_missed, check_store
from worker.running.queues import BrokerAwayError, read_queues
from worker.settings import WorkerSettings
from worker.store import Store, StoreError
from worker.wiring import clock, store_of
from worker.words import TEST_MESSAGE

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
    rescues = settings.late_policy == "rescue"
    notes: Future[Notes | None] = Future()
    examinations = [
        Examination(("settings",), lambda: check_settings(settings.secret_variables)),
        *(_agent(name, settings, bot) for name, bot in settings.named_bots),
        Examination(("handlers",), lambda: [check_handlers(settings)]),
        *(
            _dingtalk(name, bot, deep=deep, rescues=rescues, is_first=bot is settings.of_bots[0])
            for name, bot in settings.named_bots
        ),
        Examination(
            ("webhooks",), lambda: [Check.of("webhooks", about_webhooks(settings.webhook_hosts))]
        ),
        Examination(("broker", "queues"), lambda: _broker(settings, notes)),
        Examination(("time limits",), lambda: check_time_limits(_slowest(settings))),
        Examination(
            ("store", *KEPT, *names_of_processes(settings)), lambda: _store(settings, notes)
        ),
        Examination(("flower",), lambda: [check_flower()]),
    ]
    if send_test_to:
        examinations += [_send_test(name, bot, send_test_to) for name, bot in settings.named_bots]
    return examine(examinations, limit_s=LIMIT_S)


def _bot(settings: WorkerSettings) -> Bot:
    secret = settings.client_secret
    return Bot(
        endpoint=settings.openapi_endpoint,
        client_id=settings.client_id or "",
        client_secret=secret.get_secret_value() if secret else "",
        clock=clock,
    )


def _slowest(settings: WorkerSettings) -> WorkerSettings:
    """Return the settings of the bot whose agent may take longest."""
    return max(settings.of_bots, key=lambda bot: bot.agent_timeout_s)


def _agent(name: str, settings: WorkerSettings, bot: WorkerSettings) -> Examination:
    def check() -> list[Check]:
        return [check_agent(bot.agent, bot=bot, **own_settings(settings, bot)).about(name)]

    return Examination((named("agent", name),), check)


def _send_test(name: str, bot: WorkerSettings, staff_id: str) -> Examination:
    word = named("send test", name)
    words = TEST_MESSAGE.in_(bot.language(None))
    return Examination((word,), lambda: [Check.of(word, send_test(_bot(bot), staff_id, words))])


def _dingtalk(
    name: str, settings: WorkerSettings, *, deep: bool, rescues: bool, is_first: bool
) -> Examination:
    """Look at what is a bot's own, and for the first of them at what is not."""
    wanted = [each for each in (*DINGTALK, "proactive") if is_first or each in OF_A_BOT]

    def check() -> Iterator[Check]:
        for word, finding in about_dingtalk(_bot(settings), deep=deep, with_permission=rescues):
            if word in wanted:
                yield Check.of(_named(word, name), finding)
        if not rescues:
            reason = "needed with LATE_POLICY=rescue alone"
            yield Check.skip(_named("proactive", name), reason)

    return Examination(tuple(_named(word, name) for word in wanted), check)


def _named(word: str, bot: str) -> str:
    return named(word, bot if word in OF_A_BOT else "")


def _broker(settings: WorkerSettings, notes: "Future[Notes | None]") -> Iterator[Check]:
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    check = check_broker(broker)
    yield check
    if check.status is Status.FAIL:
        yield Check.skip("queues", "the broker cannot be used")
    else:
        yield check_queues(broker, notes)


def _names_of_store(settings: WorkerSettings) -> tuple[str, ...]:
    return ("store", *KEPT, *names_of_processes(settings))


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
