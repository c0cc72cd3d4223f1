"""The cases of docs/troubleshooting.md, played: each ends in a line of the doctor's that names it.

A simulated DingTalk, real listeners and workers; the words asserted here are those of the page.
"""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.integration.doctor_place import findings
from tests.integration.worker_place import WorkerPlace, place
from tests.processes import ROOT
from tests.servers import free_port, wait_for

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def here(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPlace]:
    """A worker; each test has a listener of its own."""
    with place(tmp_path_factory.mktemp("doctor"), redis_url) as here:
        here.gate.touch()
        here.worker()
        yield here


@pytest.fixture(autouse=True)
def good_day(here: WorkerPlace) -> Iterator[None]:
    here.simulator.reset()
    yield
    here.simulator.reset()


def doctor(here: WorkerPlace, *options: str, **variables: str) -> dict[str, tuple[str, str]]:
    return findings(here.run("celery", "-A", "worker", "doctor", "--json", *options, **variables))


def until(
    here: WorkerPlace,
    name: str,
    holds: Callable[[str, str], object],
    **variables: str,
) -> str:
    """Ask until a check is as wanted, which takes a listener's report; return its words."""
    seen = ("", "")

    def is_so() -> bool:
        nonlocal seen
        seen = doctor(here, **variables)[name]
        return bool(holds(*seen))

    try:
        wait_for(is_so, what=f"{name} to be as wanted")
    except TimeoutError:
        raise AssertionError(f"{name} is {seen}") from None
    return seen[1]


def on_the_page(*words: str) -> None:
    """What a line says is what the page tells the reader to look for."""
    flat = re.sub(r"\s+", " ", PAGE)
    for each in words:
        assert each in flat, f"docs/troubleshooting.md does not say {each!r}"


# The bot does not connect.


def refused_listener(here):
    """What the doctor says of a listener that DingTalk refuses, and then of everything."""
    listener = here.start("python -m listener")
    try:
        said = until(
            here, "listeners", lambda status, words: status == "FAIL" and "(refused)" in words
        )
        return said, doctor(here, "--deep")
    finally:
        listener.terminate()


def test_credentials_that_are_refused(here):
    here.simulator.switch(registration="auth_failed", token="refused")
    said, found = refused_listener(here)

    assert "0 of 1 connections" in said
    assert found["credentials"][0] == "FAIL"
    words = "DingTalk refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET"
    assert words in found["credentials"][1]
    on_the_page(words)


def test_stream_mode_that_is_off(here):
    here.simulator.switch(registration="stream_off")
    said, found = refused_listener(here)

    assert "is Stream mode on? --deep" in said
    assert found["credentials"][0] == "ok"
    assert found["stream"][0] == "FAIL"
    words = "the robot is not in Stream mode, or the app is not published"
    assert words in found["stream"][1]
    on_the_page(words)


def test_egress_that_is_blocked(here):
    closed = f"http://127.0.0.1:{free_port()}"
    listener = here.start("python -m listener", DINGTALK_OPENAPI_ENDPOINT=closed)
    try:
        said = until(
            here,
            "listeners",
            lambda status, words: status == "FAIL" and "(unreachable)" in words,
            DINGTALK_OPENAPI_ENDPOINT=closed,
        )
        found = doctor(here, DINGTALK_OPENAPI_ENDPOINT=closed)
    finally:
        listener.terminate()

    assert "0 of 1 connections" in said
    assert found["api"][0] == "FAIL"
    assert "cannot connect to 127.0.0.1" in found["api"][1]
    assert found["credentials"] == ("skip", "the API cannot be reached; ")
    on_the_page("cannot connect to", "(unreachable)", "(refused)")


# Messages are received, but replies fail.


def test_replies_whose_webhook_has_expired(here):
    listener = here.listener()
    try:
        here.simulator.switch(session_ttl_s=1)
        here.simulator.say("too late", person="erin")
        words = "the webhook expired before the reply was sent"
        said = until(here, "missed replies", lambda status, found: words in found)
    finally:
        listener.terminate()

    assert "expired_" in said
    assert said.endswith("; celery -A worker late")
    on_the_page(words)


def test_replies_that_fail_and_are_tried_again(here):
    listener = here.listener()
    try:
        here.simulator.fail_replies(times=None, status=500)
        here.simulator.say("again and again", person="gina")
        words = "the last was put off because: "
        said = until(here, "deliveries", lambda status, found: words in found)
        here.simulator.heal_replies()
        until(here, "deliveries", lambda status, found: status == "ok")
    finally:
        here.simulator.heal_replies()
        listener.terminate()

    assert "500" in said
    on_the_page(words, "wait for another attempt")


def test_replies_for_which_the_app_has_no_permission(here, tmp_path):
    here.simulator.switch(proactive="permission")
    rescue = {"LATE_POLICY": "rescue", "STORE_URL": f"sqlite:///{tmp_path}/rescue.db"}
    rescue |= {"BROKER_URL": here.broker_url.rpartition("/")[0] + "/6"}
    worker = here.worker("-n rescuer@%h", **rescue)
    listener = here.start("python -m listener", **rescue)
    try:
        here.simulator.until_connected(1)
        here.simulator.fail_replies(times=None, errcode=300001)
        here.simulator.say("nobody may say so", person="frank")
        words = "the app lacks an API permission (qyapi_robot_sendmsg)"
        until(here, "missed replies", lambda status, found: words in found, **rescue)
        found = doctor(here, **rescue)
    finally:
        listener.terminate()
        worker.terminate()
        here.simulator.heal_replies()

    assert found["proactive"][0] == "FAIL"
    assert "the app lacks the API permission qyapi_robot_sendmsg" in found["proactive"][1]
    on_the_page(words, "the app lacks the API permission qyapi_robot_sendmsg")


# Group messages are not received.


def test_group_messages_that_dingtalk_does_not_push(here):
    listener = here.listener()
    try:
        here.simulator.switch(pushes="private")
        private = here.simulator.say("I am here")
        here.simulator.say("and in the group", group=True)
        here.simulator.until_answered(private)
        words = "the bot is not in that group, or the message did not @-mention it"
        said = until(
            here,
            "group messages",
            lambda status, found: status == "skip" and words in found and "Stream" not in found,
        )
    finally:
        listener.terminate()

    assert "nobody was denied" in said
    on_the_page(words)


def test_group_messages_of_somebody_who_may_not_write(here):
    listener = here.start("python -m listener", DINGTALK_ALLOWED_USERS="alice")
    try:
        here.simulator.until_connected(1)
        here.simulator.say("let me in", person="mallory", group=True)
        words = "sender not in DINGTALK_ALLOWED_USERS"
        said = until(here, "group messages", lambda status, found: words in found)
        found = doctor(here)
    finally:
        listener.terminate()

    assert "1 message(s) of 1 sender(s) were denied" in said
    assert found["allowed users"] == ("ok", "1 person; ")
    on_the_page(words)
