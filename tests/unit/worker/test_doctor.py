"""What the doctor finds out by itself and from the store; DingTalk and brokers are elsewhere."""

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from contract.broker import Broker
from contract.checks import Check, Status
from contract.report import ListenerStatus
from contract.routing import QUEUES, task_id
from contract.sealing import Sealer
from contract.variables import VARIABLES
from tests.unit.worker.answering_parts import SECRET_WORDS, envelope
from worker.doctor.own import check_agent, check_flower, check_time_limits
from worker.doctor.processes import Notes, check_processes, names_of_processes
from worker.doctor.queues import check_queues
from worker.doctor.remembered import check_budget, check_deliveries, check_missed, check_store
from worker.running.presence import facts_of
from worker.sending.budget import month_of
from worker.settings import WorkerSettings
from worker.store import Claimed, Reason, Step, Store
from worker.store.sql import SqlStore

OK, WARN, FAIL, SKIP = Status.OK, Status.WARN, Status.FAIL, Status.SKIP


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in (*VARIABLES, "DINGTALK_CONFIG", "DYNO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    yield store
    store.close()


# The agent.


def test_an_agent_is_named_with_its_shape():
    check = check_agent("worker.agents.echo:agent")
    assert (check.status, check.reason) == (OK, "worker.agents.echo:agent, a function")


def test_a_model_is_named_with_its_place_and_is_not_asked():
    settings = {"model": "qwen-plus", "base_url": "http://127.0.0.1:1/v1"}
    check = check_agent("worker.agents.openai:agent", first=settings)
    assert (check.status, check.reason) == (
        OK, "worker.agents.openai:agent, qwen-plus at 127.0.0.1:1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "settings", "words"),
    [
        ("echo", {}, ""),
        ("echo", {"history_turns": 5}, "; remembers 5 turns for 24 h"),
        ("openai", {}, "; remembers 20 turns for 24 h"),
        ("openai", {"history_turns": 0}, ""),
        (
            "openai",
            {"history_hours": 0.5, "history_by": "person"},
            "; remembers 20 turns for 0.5 h, each person apart",
        ),
    ],
)
def test_of_an_agent_that_is_reminded_it_is_said_for_how_long(agent, settings, words):
    bot = WorkerSettings.model_construct(**settings)
    model = {"model": "qwen-plus", "base_url": "http://127.0.0.1:1/v1"} if agent != "echo" else None
    reason = check_agent(f"worker.agents.{agent}:agent", first=model, bot=bot).reason
    assert reason.partition(";")[2] == words.partition(";")[2]


def test_what_an_agents_settings_lack_is_listed():
    check = check_agent("worker.agents.openai:agent", last={"temperature": 9})
    assert check.status is FAIL
    assert "OPENAI_MODEL: Field required; OPENAI_TEMPERATURE: Input should be" in check.reason


@pytest.mark.parametrize("spec", ["nowhere_at_all:agent", "worker.agents.echo:nope", "json:tool"])
def test_an_agent_that_cannot_be_called_is_a_failure_with_its_reason(spec):
    check = check_agent(spec)
    assert check.status is FAIL
    assert spec in check.reason


# Flower.


@pytest.mark.parametrize(
    ("environ", "status", "words"),
    [
        ({}, OK, "as these variables have it, `web` is for this machine alone"),
        ({"PORT": "80", "FLOWER_BASIC_AUTH": "a:SECRET"}, OK, "behind a login"),
        ({"PORT": "80"}, FAIL, "PORT makes Flower public, and it has no login"),
        ({"PORT": "80", "FLOWER_UNAUTHENTICATED_API": "1"}, FAIL, "opens its API to everybody"),
        ({"FLOWER_ADDRESS": "0.0.0.0"}, FAIL, "FLOWER_ADDRESS makes Flower public"),
        ({"PORT": "SECRET"}, FAIL, "must be a number from 1 to 65535"),
    ],
)
def test_flower_that_everybody_could_open_is_a_failure(environ, status, words):
    check = check_flower(environ)
    assert check.status is status
    assert words in check.reason
    assert "SECRET" not in f"{check}"


# Limits that have to fit each other.


@pytest.fixture
def conf(monkeypatch):
    """Celery's configuration, as the doctor will find it."""
    app = Celery()
    app.conf.broker_transport_options = {"visibility_timeout": 10, "unacked_restore_interval": 5}
    monkeypatch.setattr("worker.celery.app", app)
    return app.conf


def limits(**settings) -> Check:
    (check,) = check_time_limits(WorkerSettings.load(**settings))
    return check


REDIS = {"broker_url": "redis://h/0", "store_url": "redis://h/0"}


def test_as_it_is_delivered_all_limits_fit(conf):
    assert limits().status is OK
    check = limits(**REDIS)
    assert check.status is OK
    assert "short (10 s) on purpose" in check.reason


def test_celerys_own_limit_must_not_cut_the_agents(conf):
    conf.task_time_limit = 60
    check = limits(agent_timeout_s=300)
    assert check.status is FAIL
    assert "task_time_limit (60 s) ends tasks before AGENT_TIMEOUT_S=300 does" in check.reason
    assert limits(agent_timeout_s=30).status is OK


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"agent_timeout_s": 6000}, "longer than a session webhook lives"),
        (
            {"agent_timeout_s": 2000, "broker_url": "amqp://h//", "store_url": "redis://h/0"},
            "longer than RabbitMQ leaves a message",
        ),
    ],
)
def test_an_agent_that_may_take_too_long_is_a_warning(conf, settings, words):
    check = limits(**settings)
    assert check.status is WARN
    assert words in check.reason


def test_herokus_patience_is_known(conf, monkeypatch):
    assert limits(shutdown_grace_s=28).status is OK
    monkeypatch.setenv("DYNO", "worker.1")
    assert limits(shutdown_grace_s=20).status is OK
    assert limits(shutdown_grace_s=28).status is WARN


@pytest.mark.parametrize(
    ("visible_s", "status", "words"),
    [(6, FAIL, "others take messages in hand"), (3600, WARN, "a killed worker had read waits")],
)
def test_a_visibility_timeout_of_somebody_elses_is_judged(conf, visible_s, status, words):
    conf.broker_transport_options["visibility_timeout"] = visible_s
    check = limits(**REDIS)
    assert check.status is status
    assert words in check.reason


def test_a_redis_transport_that_renews_nothing_is_a_failure(conf, monkeypatch):
    monkeypatch.setitem(
        check_time_limits.__globals__["TRANSPORT_ALIASES"], "redis", "kombu.transport.redis"
    )
    assert limits(**REDIS).status is FAIL


# The store.


def test_a_store_is_written_to_and_read_from(store, tmp_path):
    check = check_store(store, f"sqlite:///{tmp_path}/store.db")
    assert (check.status, check.reason) == (OK, "SQLite: written to and read from")


def test_a_store_that_nobody_made_is_a_failure_and_not_made(tmp_path):
    address = f"sqlite:///{tmp_path}/new/store.db"
    check = check_store(SqlStore(address), address)

    assert check.status is FAIL
    assert "python -m worker.release" in check.fix
    assert not (tmp_path / "new").exists()


def test_a_store_without_tables_is_left_without(tmp_path):
    (tmp_path / "empty.db").touch()
    address = f"sqlite:///{tmp_path}/empty.db"
    store = SqlStore(address)

    for _ in range(2):
        check = check_store(store, address)
        assert check.status is FAIL
        assert "has no tables yet" in check.reason
    store.close()


# Missed replies.


def miss(store: Store, number: int, reason: Reason, *, errcode=None, detail="") -> None:
    message = envelope(message_id=f"msg{number}")
    identity = task_id(message.bot, message.message_id)
    claim = store.claim(identity, owner="me", lease_s=60, envelope=message.to_wire())
    assert isinstance(claim, Claimed)
    store.miss(claim.lease, state="FLAGGED", reason=reason, errcode=errcode, detail=detail)


def test_no_missed_reply_is_fine(store):
    assert check_missed(store) == Check.ok("missed replies", "none")


def test_missed_replies_are_counted_by_reason_with_the_command_that_lists_them(store, tmp_path):
    then_ms = round((datetime.now(UTC) - timedelta(hours=3, minutes=5)).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/store.db", clock_ms=lambda: then_ms)
    miss(past, 1, Reason.EXPIRED_AT_SEND, errcode=300001)
    past.close()
    miss(store, 2, Reason.EXPIRED_AT_SEND, errcode=300001)
    miss(store, 3, Reason.AGENT_FAILED, detail="ValueError")

    check = check_missed(store)

    assert (check.status, check.fix) == (WARN, "celery -A worker late")
    assert check.reason.startswith(
        "3, the oldest 3h old: 2 expired_at_send, 1 agent_failed; DingTalk said"
    )
    assert SECRET_WORDS not in f"{check}"


def test_a_session_that_dingtalk_ended_is_not_put_down_to_too_few_workers(store):
    miss(store, 1, Reason.EXPIRED_AT_SEND, errcode=300001)
    gone = check_missed(store).reason
    miss(store, 2, Reason.EXPIRED_IN_QUEUE)
    both = check_missed(store).reason

    assert gone.endswith("; DingTalk said that the session is gone (300001)")
    assert "DingTalk said that the session is gone" in both
    assert both.endswith("too few workers, or a slow agent")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"reason": Reason.EXPIRED_AT_SEND, "detail": "rescue failed: …PermissionDenied"},
            "lacks an API permission",
        ),
        ({"reason": Reason.REJECTED_BY_DINGTALK, "errcode": 60011}, "lacks an API permission"),
        ({"reason": Reason.REJECTED_BY_DINGTALK, "errcode": 430102}, "errcode 430102"),
        ({"reason": Reason.WEBHOOK_NOT_ALLOWED}, "hosts that DINGTALK_WEBHOOK_HOSTS"),
    ],
)
def test_what_dingtalk_refused_is_put_into_words(store, facts, words):
    miss(store, 1, **facts)
    assert words in check_missed(store).reason


# Replies that wait for another attempt.


def put_off(store: Store, number: int, *, age: timedelta, detail: str) -> str:
    message = envelope(message_id=f"msg{number}", received_at=datetime.now(UTC) - age)
    identity = task_id(message.bot, message.message_id)
    claim = store.claim(identity, owner="me", lease_s=60, envelope=message.to_wire())
    assert isinstance(claim, Claimed)
    steps = [Step("retried", {"detail": detail, "attempts": 1})]
    store.release(claim.lease, due_in_s=300, attempts=1, steps=steps)
    return identity


def test_where_no_reply_is_put_off_nothing_waits(store):
    assert check_deliveries(store) == Check.ok("deliveries", "none waits for another attempt")


def test_replies_that_are_tried_again_are_told_with_the_last_reason(store, tmp_path):
    then_ms = round((datetime.now(UTC) - timedelta(minutes=2)).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/store.db", clock_ms=lambda: then_ms)
    put_off(past, 1, age=timedelta(minutes=4), detail="HTTP 502")
    past.close()
    newest = put_off(store, 2, age=timedelta(seconds=30), detail="DingTalk answered HTTP 500")

    check = check_deliveries(store)

    assert (check.status, check.fix) == (WARN, f"celery -A worker trace {newest}")
    assert check.reason == (
        "2 wait for another attempt; the oldest was received 4m ago; "
        "the last was put off because: DingTalk answered HTTP 500"
    )
    assert SECRET_WORDS not in f"{check}"


# Who is there.


def worker(
    store: Store, node: str = "celery@a", release: str = "1", *, in_flight: int = 0, **settings
) -> None:
    facts = facts_of(
        WorkerSettings.load(**settings),
        node=node,
        pid=1,
        release=release,
        pool="threads",
        concurrency=64,
        queues=list(QUEUES),
        started_at=datetime.now(UTC),
    )
    store.remember("worker", node, facts | {"in_flight": in_flight}, ttl_s=40)


def listener(store: Store, name: str = "host:1", bot: str = "ding1", **facts) -> None:
    now = datetime.now(UTC)
    facts = {"connections_up": 1, "last_frame_age_s": 3.0, "allows_everybody": True} | facts
    status = ListenerStatus(
        listener=name, release="1", bot=bot, started_at=now, sent_at=now, **facts
    )
    store.remember("listener", f"{name} {bot}", status.to_wire(), ttl_s=120)


def processes(store: Store, *, reports_waiting=lambda: 0, **settings) -> dict[str, Check]:
    own = WorkerSettings.load(**settings)
    checks = list(check_processes(own, Notes.read(store), reports_waiting))
    assert tuple(check.name for check in checks) == names_of_processes(own)
    return {check.name: check for check in checks}


SALES = {"client_id": "dingsales", "client_secret": "s", "name": "sales"}
SUPPORT = {"client_id": "dinghelp", "client_secret": "s"}


def test_each_of_several_bots_has_its_own_lines(store):
    worker(store, bots=(SALES, SUPPORT))
    listener(store, bot="dingsales", group_messages=2, messages=5)
    listener(store, bot="dinghelp", allows_everybody=False, denied=3, denied_senders=1)

    found = processes(store, bots=(SALES, SUPPORT))

    assert found["listeners"].reason.startswith("1 running, 2 of 2 connections to DingTalk up")
    assert found["allowed users (sales)"].status is OK
    assert found["allowed users (dinghelp)"].status is FAIL
    assert found["group messages (sales)"].status is OK
    assert "3 message(s) of 1 sender(s)" in found["group messages (dinghelp)"].reason
    assert found["workers"].status is OK


def test_a_bot_that_nobody_listens_for_is_named_and_one_that_is_refused_as_well(store):
    worker(store, bots=(SALES, SUPPORT))
    listener(store, bot="dingsales")
    check = processes(store, bots=(SALES, SUPPORT))["listeners"]
    assert (check.status, check.reason.split("; ")[-1]) == (FAIL, "nobody listens for dinghelp")

    listener(store, bot="dinghelp", connections_up=0, trouble="refused")
    check = processes(store, bots=(SALES, SUPPORT))["listeners"]
    assert check.status is FAIL
    assert "1 of 2 connections to DingTalk up (refused)" in check.reason
    assert check.reason.endswith("; nobody listens for dinghelp")
    assert "refuses this bot" in check.fix


def test_a_bot_that_is_listened_for_and_not_in_the_settings_is_named(store):
    worker(store)
    listener(store, bot="dingsales")
    check = processes(store, client_id="dinghelp", client_secret="s")["listeners"]
    assert check.status is FAIL
    assert "dingsales is not in these settings" in check.reason
    assert processes(store)["listeners"].status is OK, "a worker that answers for whatever bot"


def test_workers_that_do_not_know_the_same_bots_are_noticed(store):
    worker(store, bots=(SALES, SUPPORT))
    listener(store, bot="dingsales")
    check = processes(store, bots=(SALES, SUPPORT | {"agent": "json:dumps"}))["workers"]
    assert (check.status, "DINGTALK_BOTS" in check.reason) == (WARN, True)


def test_where_all_are_there_nothing_is_to_be_done(store):
    worker(store)
    listener(store, group_messages=2, messages=5)

    found = processes(store)

    assert {check.status for check in found.values()} == {OK}
    assert found["workers"].reason == "celery@a (threads, 64 at once)"
    assert found["listeners"].reason == (
        "1 running, 1 of 1 connections to DingTalk up; last frame 3 s ago"
    )
    assert found["group messages"].reason == "2 since the listener started"


def test_without_workers_nothing_is_known_of_listeners(store):
    found = processes(store)

    assert (found["workers"].status, found["workers"].fix) == (FAIL, "celery -A worker worker")
    assert (found["listeners"].status, found["group messages"].status) == (SKIP, SKIP)
    assert "without a worker nobody records" in found["listeners"].reason


def test_a_store_that_cannot_be_read_leaves_what_we_know_ourselves(store):
    found = {check.name: check for check in check_processes(WorkerSettings.load(), None)}

    assert found.pop("allowed users").status is FAIL
    assert {check.status for check in found.values()} == {SKIP}


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"stopped": True}, FAIL, "none runs: the last report came 0 s ago, it was stopped"),
        ({"connections_up": 0, "trouble": "refused"}, FAIL, "0 of 1 connections"),
        ({"connections_up": 1, "connections_wanted": 2}, WARN, "1 of 2 connections"),
        ({"last_frame_age_s": 400.0}, WARN, "last frame 400 s ago"),
        ({"last_frame_age_s": None}, OK, "no frame has come yet"),
    ],
)
def test_how_a_listener_does(store, facts, status, words):
    worker(store)
    listener(store, **facts)
    check = processes(store)["listeners"]
    assert check.status is status
    assert words in check.reason


def test_a_listener_that_dingtalk_refuses_sends_the_reader_to_the_credentials(store):
    worker(store)
    listener(store, connections_up=0, trouble="refused")
    check = processes(store)["listeners"]
    assert "(refused)" in check.reason
    assert "see credentials above; is Stream mode on? --deep" in check.fix


def test_no_report_of_any_listener_is_a_failure(store):
    worker(store)
    check = processes(store)["listeners"]
    assert (check.status, check.reason) == (FAIL, "none has reported")


def test_a_listener_that_went_silent_is_not_counted(store, tmp_path):
    worker(store)
    then_ms = round((datetime.now(UTC) - timedelta(seconds=100)).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/store.db", clock_ms=lambda: then_ms)
    listener(past)
    past.close()

    check = processes(store)["listeners"]

    assert check.status is FAIL
    assert "the last report came 100 s ago, it says nothing any more" in check.reason


def test_a_listener_whose_reports_wait_behind_agents_is_not_called_dead(store):
    worker(store, in_flight=64)
    full = processes(store, reports_waiting=lambda: 7)
    unknown = processes(store, reports_waiting=lambda: None)["listeners"]
    worker(store, "celery@b")  # has room, so reports would have come through
    roomy, queued = processes(store), processes(store, reports_waiting=lambda: 2)["listeners"]

    assert (full["listeners"].status, full["listeners"].fix) == (
        WARN,
        "see celery -A worker backlog",
    )
    assert full["listeners"].reason == (
        "not known: all slots of the workers are busy, so the listeners' reports wait "
        "(7 on the queue events)"
    )
    assert full["group messages"].status is SKIP
    assert "the listeners' reports wait" in full["group messages"].reason
    assert unknown.status is WARN
    assert "all slots of the workers are busy, so the listeners' reports wait" in unknown.reason
    assert roomy["listeners"].status is FAIL
    assert queued.status is WARN
    assert "reports wait for a worker (2 on the queue events)" in queued.reason


def test_the_reports_that_wait_are_only_asked_for_when_no_listener_is_heard(store):
    worker(store, in_flight=64)
    listener(store)
    asked: list[int] = []

    assert processes(store, reports_waiting=lambda: asked.append(1))["listeners"].status is OK
    assert asked == []


@pytest.mark.parametrize(
    ("age_s", "status", "words"),
    [
        (8, OK, "celery@a (threads, 64 at once)"),
        (17, OK, "celery@a (threads, 64 at once, said so 17 s ago)"),
        (25, WARN, "said so 25 s ago); a worker says so every 10 s: celery@a may be dead"),
    ],
)
def test_a_worker_that_was_killed_is_not_called_healthy(store, tmp_path, age_s, status, words):
    then_ms = round((datetime.now(UTC) - timedelta(seconds=age_s)).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/store.db", clock_ms=lambda: then_ms)
    worker(past)
    past.close()

    check = processes(store)["workers"]

    assert check.status is status
    assert check.reason.endswith(words)


def test_a_note_of_a_later_release_is_passed_over(store):
    worker(store)
    listener(store)
    store.remember("listener", "host:2", {"kind": "listener_status"}, ttl_s=60)
    assert processes(store)["listeners"].status is OK


def test_whom_the_listeners_let_in_counts_and_not_our_own_environment(store, monkeypatch):
    worker(store)
    listener(store, allows_everybody=False, allowed_users=3)
    assert processes(store)["allowed users"] == Check.ok("allowed users", "3 people")

    listener(store, allows_everybody=False, allowed_users=0)
    monkeypatch.setenv("DINGTALK_ALLOWED_USERS", "a,b")
    assert "EVERYBODY IS DENIED" in processes(store)["allowed users"].reason


def test_without_listeners_our_own_environment_says_who_is_let_in(store, monkeypatch):
    monkeypatch.setenv("DINGTALK_ALLOWED_USERS", "*")
    assert processes(store)["allowed users"].status is OK
    assert processes(store, late_policy="rescue")["allowed users"].status is WARN


def test_listeners_that_let_in_different_people_are_a_warning(store):
    worker(store)
    listener(store)
    listener(store, "host:2", allows_everybody=False, allowed_users=1)
    assert "listeners differ" in processes(store)["allowed users"].reason


def test_no_group_message_has_causes_that_only_a_person_can_tell_apart(store):
    worker(store)
    listener(store, messages=4)
    check = processes(store)["group messages"]
    assert check.status is SKIP
    assert "the bot is not in that group, or the message did not @-mention it" in check.reason
    assert "Stream mode" not in check.reason

    listener(store, messages=0)
    assert (
        "as no other message had come either when it last reported, 0 s ago, the robot may not be "
        "in Stream mode"
    ) in processes(store)["group messages"].reason


def test_a_denied_group_is_told_apart_from_a_denied_sender(store):
    worker(store)
    listener(store, denied=5, denied_in_groups=3, denied_senders=2)

    reason = processes(store)["group messages"].reason
    assert "group not in DINGTALK_ALLOWED_GROUPS: 3 message(s)" in reason
    assert "sender not in DINGTALK_ALLOWED_USERS: 2 message(s)" in reason


def test_denied_senders_are_counted(store):
    worker(store)
    listener(store, group_messages=7, denied=4, denied_senders=2)
    check = processes(store)["group messages"]
    assert check.status is WARN
    assert "sender not in DINGTALK_ALLOWED_USERS: 4 message(s) of 2 sender(s)" in check.reason


@pytest.mark.parametrize(
    ("theirs", "variable"),
    [
        ({"agent_timeout_s": 5}, "AGENT_TIMEOUT_S"),
        ({"agent": "x:y"}, "AGENT"),
        ({"late_policy": "drop"}, "LATE_POLICY"),
        ({"order": "none"}, "ORDER"),
    ],
)
def test_a_worker_with_other_settings_is_a_warning(store, theirs, variable):
    worker(store)
    worker(store, "celery@b", **theirs)
    check = processes(store)["workers"]
    assert check.status is WARN
    assert check.reason.endswith(f"they do not have the same settings: {variable}")


def test_workers_of_two_releases_are_a_warning(store):
    worker(store)
    worker(store, "celery@b", release="2")
    assert "of several releases" in processes(store)["workers"].reason


def test_processes_that_seal_and_some_that_do_not_are_a_failure(store):
    key, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    worker(store, envelope_key=key)
    listener(store, sealed=True)
    assert processes(store, envelope_key=key)["sealing"].status is OK
    assert processes(store)["sealing"].status is FAIL
    mixed = processes(store, envelope_key=f"{other},{key}")["sealing"]
    assert mixed.status is WARN
    listener(store, sealed=False)
    check = processes(store, envelope_key=key)["sealing"]
    assert check.status is FAIL
    assert key not in f"{check}{mixed}"


def test_processes_whose_newest_keys_differ_are_a_warning(store):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    mine = Sealer.from_setting(f"{old},{new}").fingerprint
    words = "whose newest ENVELOPE_KEY is another one than this process's"
    worker(store, envelope_key=old)
    worker(store, "celery@b", envelope_key=f"{old}, {new}")
    listener(store, sealed=True, key=mine)
    same = processes(store, envelope_key=old)["sealing"]
    theirs = processes(store, envelope_key=new)["sealing"]
    worker(store, "celery@b", envelope_key=new)
    one_worker = processes(store, envelope_key=old)["sealing"]
    worker(store, "celery@b", envelope_key=old)
    listener(store, sealed=True, key=Sealer.from_setting(new).fingerprint)
    one_listener = processes(store, envelope_key=old)["sealing"]

    assert same.status is OK
    assert {each.status for each in (theirs, one_worker, one_listener)} == {WARN}
    assert theirs.reason.startswith(f"there are celery@a, celery@b, host:1 {words}")
    assert one_worker.reason.startswith(f"there are celery@b {words}")
    assert one_listener.reason.startswith(f"there are host:1 {words}")
    assert "else what one seals the other cannot open" in one_listener.reason


# Queues, of the embedded broker.


def queues(tmp_path, notes: Notes | None) -> Check:
    future: Future[Notes | None] = Future()
    future.set_result(notes)
    return check_queues(Broker.from_url("embedded://", tmp_path), future)


def test_queues_that_nobody_made_are_a_failure_and_not_made(store, tmp_path):
    worker(store)
    check = queues(tmp_path, Notes.read(store))
    assert check.status is FAIL
    assert "there is no queue messages, turns, replies, events, commands" in check.reason
    assert not (tmp_path / "broker").exists()


def test_queues_are_counted_and_somebody_must_take_from_each(store, tmp_path):
    for name in QUEUES:
        (tmp_path / "broker" / "queues" / name).mkdir(parents=True)
    (tmp_path / "broker" / "queues" / "messages" / "1.msg").touch()
    worker(store)
    fine = queues(tmp_path, Notes.read(store))
    store.remember("worker", "celery@a", {"queues": ["messages", "turns"]}, ttl_s=40)
    half = queues(tmp_path, Notes.read(store))

    assert (fine.status, fine.reason) == (OK, "all 5 are there and have a worker; 1 waiting")
    assert half.status is FAIL
    assert "nobody takes messages from replies, events, commands" in half.reason
    assert half.fix == "start a worker: celery -A worker worker -Q replies,events,commands"


# The month's API calls.


@pytest.mark.parametrize(
    ("made", "status", "words"),
    [
        (0, OK, "0 of 5 000 used this month"),
        (4_499, OK, "4 499 of 5 000 used this month"),
        (4_812, WARN, "4 812 of 5 000 used this month"),
        (5_000, WARN, "no proactive messages"),
    ],
)
def test_a_budget_is_told_with_what_is_used_of_it(store, made, status, words):
    now = datetime.now(UTC)
    store.count_up("api_calls", f"ding1 {month_of(now)}", ttl_s=60, by=made)
    settings = WorkerSettings(client_id="ding1", api_budget=5000)

    check = check_budget(store, settings, now)

    assert (check.name, check.status) == ("api budget", status)
    assert words in check.reason


def test_budgets_of_several_bots_stand_in_one_line(store):
    tables = [
        {"client_id": name, "client_secret": "s", "api_budget": calls}
        for name, calls in (("ding1", 5), ("ding2", 0))
    ]

    check = check_budget(store, WorkerSettings.load(bots=tables), datetime.now(UTC))

    assert check.status is WARN
    assert check.reason.startswith("ding1: 0 of 5 used this month; ding2: 0 of 0 used")


def test_without_a_budget_nothing_is_counted(store):
    assert check_budget(store, WorkerSettings(client_id="ding1"), datetime.now(UTC)).status is SKIP
