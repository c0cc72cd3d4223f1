"""What is secret or private is written nowhere, but where docs/security.md says that it is.

One deployment with a mark in everything that is secret, through messages that go well and badly,
once in clear at LOG_LEVEL=DEBUG and once sealed (ENVELOPE_KEY); then all that it wrote is searched.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from celery import Celery
from cryptography.fernet import Fernet

from contract.envelope import VERSION, Envelope
from contract.routing import MESSAGES, task_id
from contract.sealing import Sealer
from dingwire.simulator import SimulatorThread
from dingwire.simulator.records import Message
from tests.acceptance.conftest import redis_database
from tests.acceptance.deployment import CLIENT_ID, CLIENT_SECRET, LOGIN, MARKER, Deployment
from tests.acceptance.exposure import (
    command,
    files_of,
    flower_pages,
    found_in,
    inspected,
    redis_contents,
)
from tests.processes import Process, procfile
from tests.servers import free_port, wait_for
from tests.watching import watching

# For the two rooms, which are played while the first test waits.
pytestmark = pytest.mark.timeout(300)

NICK, TITLE = "nick-c5d1f0", "title-2e77ab"
BROKER_PASSWORD, STORE_PASSWORD, RESULT_PASSWORD = "broker-p4-d0aa", "store-p4-91fe", "res-p4-5c2b"
ALERT_TOKEN, ALERT_SECRET = "alert-token-6b1d", "SECalert-7e90c3"
KEYS = [Fernet.generate_key().decode() for _ in range(2)]
STOLEN = "stolen-f31b77"  # a session of a webhook that we must not, or cannot, post to

# What people wrote and the key to their chat: on the broker, the disk and in the store by design.
PRIVATE = {"text", "nick", "title", "webhook"}


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


@dataclass
class Scene:
    """What was played, and all that was written meanwhile."""

    deployment: Deployment
    broker_url: str
    store_url: str
    sealer: Sealer
    messages: dict[str, Message] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    kept_answers: dict[str, str] = field(default_factory=dict)
    broker: bytes = b""
    store: bytes = b""
    spool: dict[str, bytes] = field(default_factory=dict)

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret by its name; those that only time brought included."""
        simulator = self.deployment.simulator
        named = {
            "text": MARKER,
            "nick": NICK,
            "title": TITLE,
            "stolen session": STOLEN,
            "client secret": CLIENT_SECRET,
            "broker password": BROKER_PASSWORD,
            "store password": STORE_PASSWORD,
            "result password": RESULT_PASSWORD,
            "Flower password": LOGIN[1],
            "alert token": ALERT_TOKEN,
            "alert secret": ALERT_SECRET,
            "webhook path": "robot/sendBySession",
        }
        sessions = [m.session_webhook.rpartition("=")[2] for m in simulator.messages]
        tokens = {s.headers["x-acs-dingtalk-access-token"] for s in simulator.proactive}
        assert sessions
        assert tokens, "no access token was ever used"
        for kind, values in (
            ("session", sessions),
            ("access token", tokens),
            ("ticket", simulator.tickets_seen),
            ("key", KEYS),
        ):
            named |= {f"{kind} {number}": value for number, value in enumerate(values)}
        return named

    def found_in(self, content: bytes | str) -> set[str]:
        """Return the kinds of secrets that are in it."""
        found = found_in(content, self.secrets)
        kinds = {"webhook" if f.startswith(("session", "webhook")) else f for f in found}
        return {"stolen session" if kind == "stolen session" else kind for kind in kinds}


@contextlib.contextmanager
def _user(redis_url: str, name: str, password: str) -> Iterator[str]:
    """A user of the shared Redis with a password, for as long as it is needed."""
    admin: Any = redis.Redis.from_url(redis_url)
    admin.execute_command("ACL", "SETUSER", name, "on", f">{password}", "~*", "&*", "+@all")
    try:
        yield redis_url.replace("redis://", f"redis://{name}:{password}@")
    finally:
        admin.execute_command("ACL", "DELUSER", name)
        admin.close()


@pytest.fixture(scope="module", params=["clear", "sealed"])
def scene(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    is_sealed = request.param == "sealed"
    broker_url, store_url = redis_database(redis_url, 15), redis_database(redis_url, 10)
    with contextlib.ExitStack() as stack:
        users = [
            stack.enter_context(_user(url, name, password))
            for url, name, password in (
                (broker_url, "carrier", BROKER_PASSWORD),
                (store_url, "keeper", STORE_PASSWORD),
                (store_url, "results", RESULT_PASSWORD),
            )
        ]
        simulator = stack.enter_context(SimulatorThread())
        simulator.simulator.robots.secret = ALERT_SECRET
        more: dict[str, Any] = (
            {"ENVELOPE_KEY": ",".join(KEYS)} if is_sealed else {"LOG_LEVEL": "DEBUG"}
        )
        unreachable = f"127.0.0.1:{free_port()}"
        deployment = Deployment(
            simulator,
            tmp_path_factory.mktemp(request.param),
            broker_url=users[0],
            store_url=users[1],
            workers=["one"],
            BROKER_URL=users[0],
            STORE_URL=users[1],
            RESULT_BACKEND=users[2],
            DINGTALK_WEBHOOK_HOSTS=f"{simulator.webhook_host},{unreachable}",
            ALERT_WEBHOOK=f"{simulator.endpoint}/robot/send?access_token={ALERT_TOKEN}",
            ALERT_SECRET=ALERT_SECRET,
            HEALTH_PORT=str(free_port()),
            METRICS_PORT=str(free_port()),
            BURST="merge",
            HISTORY_TURNS="5",
            **more,
        )
        stack.callback(deployment.stop)
        keys = ",".join(KEYS) if is_sealed else None
        scene = Scene(deployment, broker_url, store_url, Sealer.from_setting(keys))
        watcher = Celery("watcher", broker=broker_url, set_as_current=False)
        with watching(watcher) as events:
            deployment.release()
            deployment.start()
            _play(scene, watcher, unreachable)
            _gather(scene, watcher)
            deployment.open_gate("opened")
            deployment.until_answered([scene.messages["held"], scene.messages["behind"]])
            _stop_and_gather(scene)
        scene.shown["events"] = repr(events)
        scene.shown["logs"] = deployment.logs()
        yield scene


# What happens.


def _play(scene: Scene, app: Celery, unreachable: str) -> None:
    deployment, simulator = scene.deployment, scene.deployment.simulator
    run = time.monotonic_ns()
    said = scene.messages

    def say(name: str, text: str = "hello", person: str = "", **more: Any) -> None:
        person = person or f"{name}-{run}"
        said[name] = deployment.say(text, person, senderNick=f"{NICK} {name}", **more)

    for frame in ("", "{", f'{{"type": "CALLBACK", "data": "{MARKER}"}}', f"{MARKER} {STOLEN}"):
        simulator.raw(frame)
    simulator.push("/v1.0/im/bot/messages/get", f'{{"text": "{MARKER}"}}')
    say("private")
    say("group", group=f"{TITLE} {run}")
    say("failed", "raise: this")
    simulator.fail_replies(2, f"retried-{run}", status=503)
    say("retried")
    simulator.fail_replies(1, f"refused-{run}", errcode=400402)
    say("refused")
    say("overdue", group=f"{TITLE} 2 {run}", sessionWebhookExpiredTime=_now_ms() - 60_000)
    say("foreign", sessionWebhook=f"https://elsewhere.example/x?session={STOLEN}")
    say("unreachable", sessionWebhook=f"http://{unreachable}/robot/sendBySession?session={STOLEN}")
    simulator.switch(session_ttl_s=3.5)
    say("slow", "sleep:2 slowly")
    say("handed over", "sleep:2 slowly as well")
    simulator.switch(session_ttl_s=5400)
    _publish_strangers(scene, app)
    for name, state in (
        *(("private", "SUCCESS"), ("group", "SUCCESS"), ("failed", "FAILURE")),
        *(("retried", "SUCCESS"), ("refused", "FAILURE"), ("overdue", "FLAGGED")),
        *(("foreign", "FAILURE"), ("unreachable", "RETRY"), ("slow", "FLAGGED")),
        ("handed over", "FLAGGED"),
    ):
        deployment.until_state(said[name], state)
    worker = deployment.processes["worker-one"]
    wait_for(lambda: worker.log.count("message_set_aside") >= 3, what="strangers")
    wait_for(lambda: simulator.simulator.robots.messages, what="an alert")
    sent = command(deployment, "late", "send", said["slow"].message_id)
    wait_for(lambda: simulator.proactive, what=f"a proactive message: {sent}")
    scene.shown["late send"] = sent
    scene.shown["alerts"] = repr([m.text for m in simulator.simulator.robots.messages])
    say("after", "and now", said["handed over"].person)
    deployment.until_answered([said["handed over"], said["after"]])
    # At work, and behind it, while everything is looked at.
    say("held", "wait:opened please", f"held-{run}")
    deployment.until_called([said["held"]])
    say("behind", "first", f"held-{run}")
    say("behind too", "second", f"held-{run}")


def _publish_strangers(scene: Scene, app: Celery) -> None:
    """Tasks that no release of ours would send, and one of a later release."""
    envelope = Envelope(
        bot=CLIENT_ID,
        message_id=f"future-{time.monotonic_ns()}",
        text=MARKER,
        session_webhook=f"https://oapi.dingtalk.com/robot/sendBySession?session={STOLEN}",
        received_at=datetime.now(UTC),
        deadline=datetime.now(UTC) + timedelta(minutes=5),
    ).to_wire()
    envelope["invented_later"] = MARKER
    sealed = scene.sealer.seal(envelope)
    options: dict[str, Any] = {"queue": MESSAGES, "argsrepr": "()", "kwargsrepr": "{}"}
    later = {**sealed, "version": VERSION + 1}
    app.send_task("answer", kwargs={"envelope": later}, **options)
    app.send_task("think", kwargs={"envelope": {**sealed, "message_id": "unknown"}}, **options)
    app.send_task("answer", kwargs={"surprise": {**sealed, "message_id": "odd"}}, **options)
    with app.producer_or_acquire() as producer:
        where = {"exchange": "", "routing_key": MESSAGES, "retry": True}
        producer.publish(sealed, serializer="json", **where)


# What is looked at.


def _gather(scene: Scene, app: Celery) -> None:
    deployment, shown = scene.deployment, scene.shown
    ids = [task_id(CLIENT_ID, m.message_id) for m in scene.messages.values()]
    shown |= flower_pages(deployment, ids)
    shown |= inspected(app, ids)
    for variable in ("HEALTH_PORT", "METRICS_PORT"):
        for path in ("/metrics", "/healthz"):
            address = f"http://127.0.0.1:{deployment.environment[variable]}{path}"
            shown[f"{variable} {path}"] = requests.get(address, timeout=10).text
    failed, slow = scene.messages["failed"].message_id, scene.messages["slow"].message_id
    conversation = scene.messages["retried"].conversation_id
    commands: list[tuple[str, ...]] = [
        ("report",),
        ("late", "list"),
        ("late", "list", "--json"),
        ("late", "show", failed),
        ("late", "send", failed),
        ("trace", failed),
        ("trace", slow, "--json"),
        ("trace", "--conversation", conversation),
        ("backlog",),
        ("backlog", "--json"),
        ("doctor",),
        ("doctor", "--deep", "--json"),
    ]
    with_answer = [("late", "show", slow), ("late", "show", slow, "--json")]
    with ThreadPoolExecutor(4) as pool:
        outputs = pool.map(lambda words: command(deployment, *words), commands + with_answer)
        for words, output in zip(commands + with_answer, outputs, strict=True):
            where = scene.kept_answers if words in with_answer else shown
            where[" ".join(words)] = output


def _stop_and_gather(scene: Scene) -> None:
    """What lies on the broker, in the store and on the disk while nobody works on it."""
    deployment = scene.deployment
    deployment.processes["worker-one"].terminate()
    for number, group in enumerate((None, f"{TITLE} waits")):
        person = f"waiting-{number}-{time.monotonic_ns()}"
        deployment.say("waits", person, senderNick=NICK, group=group)
    scene.broker = redis_contents(scene.broker_url)
    scene.store = redis_contents(scene.store_url)
    deployment.processes["listener"].terminate()
    _spool(scene)


def _spool(scene: Scene) -> None:
    """A listener whose broker is away, with a disk of its own."""
    deployment, folder = scene.deployment, scene.deployment.folder / "spooling"
    environment = {
        **deployment.environment,
        "DATA_DIR": str(folder),
        "BROKER_URL": f"redis://carrier:{BROKER_PASSWORD}@127.0.0.1:{free_port()}/0",
    }
    environment.pop("REDIS_URL", None)
    log = deployment.folder / "spooling.log"
    listener = Process(
        procfile()["listener"], environment=environment, folder=deployment.work, log=log
    )
    try:
        deployment.simulator.until_connected()
        deployment.say("spooled", f"spooled-{time.monotonic_ns()}", senderNick=NICK, group=TITLE)
        listener.until_logged("message_spooled")
        scene.spool = files_of(folder)
        listener.terminate()
    finally:
        listener.kill()
        scene.shown["log of the listener that spools"] = listener.log


# What must not be found.


def test_nothing_shows_what_is_secret(scene):
    leaks = {where: found for where, text in scene.shown.items() if (found := scene.found_in(text))}

    assert leaks == {}


def test_what_was_shown_was_worth_a_look(scene):
    """Else a page that failed to load would pass for a page without secrets."""
    failed = scene.messages["failed"].message_id
    for where in ("/tasks/datatable", "/api/tasks", "late list", "events", "logs"):
        assert failed in scene.shown[where], where
    assert "agent_failed" in scene.shown[f"trace {failed}"]
    assert "messages" in scene.shown["/broker"]
    assert "carrier" in scene.shown["/broker"], "the broker's address is shown, less its password"
    assert "dingtalk_" in scene.shown["HEALTH_PORT /metrics"]
    assert scene.messages["held"].message_id in scene.shown["inspect active in full"]
    assert json.loads(scene.shown["backlog --json"])
    assert "agent_failed" in scene.shown["alerts"]
    assert ('"level": "DEBUG"' in scene.shown["logs"]) == (not scene.sealer.is_sealing)


def test_a_kept_answer_is_shown_to_who_asks_for_it_and_no_webhook_with_it(scene):
    for output in scene.kept_answers.values():
        assert f"you said {MARKER}" in output
        assert scene.found_in(output) <= {"text", "nick", "title"}


def test_broker_store_and_spool_hold_what_the_documentation_says(scene):
    """With ENVELOPE_KEY nothing; without, what people wrote, their webhooks, and the token."""
    expected = set() if scene.sealer.is_sealing else PRIVATE
    stolen = set() if scene.sealer.is_sealing else {"stolen session"}

    assert scene.found_in(scene.broker) - stolen == expected
    shared = set() if scene.sealer.is_sealing else {"access token 0"}
    assert scene.found_in(scene.store) - stolen == expected | shared
    assert scene.found_in(b"\n".join(scene.spool.values())) == expected


def test_the_data_folder_and_the_working_folder_hold_nothing(scene):
    """But for the spool, which is empty while the broker is there."""
    deployment = scene.deployment
    for folder in (deployment.data, deployment.work):
        for file, content in files_of(Path(folder)).items():
            assert scene.found_in(content) == set(), file


def test_sealed_messages_were_answered_like_others(scene):
    deployment = scene.deployment
    answered = [scene.messages[name] for name in ("private", "group", "retried")]

    assert sorted(r.text for r in deployment.accepted(answered)) == sorted(
        f"you said {m.text}" for m in answered
    )
    late, after = deployment.accepted([scene.messages["after"]])
    assert f"you said {scene.messages['handed over'].text}" in late.text
    assert after.text == f"you said {scene.messages['after'].text}"
    _, merged = deployment.accepted([scene.messages["held"]])
    assert merged.text == "you said " + "\n".join(
        scene.messages[name].text for name in ("behind", "behind too")
    )


def test_a_disk_of_one_machine_holds_nothing_either_while_keys_are_changed(tmp_path):
    """The embedded broker and SQLite; a worker without the key, then one with a newer one, too."""
    old, new = KEYS
    with SimulatorThread() as simulator:
        deployment = Deployment(
            simulator,
            tmp_path,
            workers=["one"],
            with_web=False,
            variables_of={"listener": {"ENVELOPE_KEY": old}},
        )
        try:
            deployment.release()
            deployment.start()
            waiting = deployment.say("early", senderNick=NICK)
            worker = deployment.processes["worker-one"]
            worker.until_logged("ENVELOPE_KEY is not set")
            assert deployment.calls() == []
            worker.terminate()
            deployment.environment["ENVELOPE_KEY"] = f"{new},{old}"
            deployment.start()
            failed = deployment.say("raise: this", senderNick=NICK)
            simulator.switch(session_ttl_s=3.5)
            slow = deployment.say("sleep:2 slowly", group=TITLE)
            deployment.until_answered([waiting])
            worker = deployment.processes["worker-one"]
            for message, action in ((failed, "reply_failed"), (slow, "reply_flagged")):
                wait_for(
                    lambda m=message, a=action: any(  # type: ignore[misc]
                        m.message_id in line and a in line for line in worker.log.splitlines()
                    ),
                    what=action,
                )
            shown = deployment.late("show", slow.message_id)
            worker.terminate()
            queued = deployment.say("queued", senderNick=NICK, group=TITLE)
        finally:
            deployment.stop()

    assert shown["answer"] == f"you said {slow.text}"
    private = {"text": MARKER, "nick": NICK, "title": TITLE, "webhook": "robot/sendBySession"}
    private |= {m.message_id: m.session_webhook.rpartition("=")[2] for m in (failed, slow, queued)}
    content = b"\n".join(files_of(deployment.data).values())
    assert found_in(content, private) == set()
    ids = {m.message_id: m.message_id for m in (failed, slow, queued)}
    assert found_in(content, ids) == set(ids), "the grep looks where the messages are"
    assert found_in(deployment.logs(), private) == set()
