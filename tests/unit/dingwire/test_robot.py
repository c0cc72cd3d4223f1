"""Posting to a group robot: what is signed, what is taken for success, what is never shown."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dingwire.robot import GroupRobot, RobotError, signature
from dingwire.simulator import SimulatorThread
from tests.unit.dingwire.local_server import LocalServer, running

TOKEN = "marked0robot0token"
SECRET = "SEC51d0f2a7"
PATH = f"/robot/send?access_token={TOKEN}"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as started:
        yield started


@pytest.fixture
def simulator(shared_simulator: SimulatorThread) -> SimulatorThread:
    shared_simulator.reset()
    robots = shared_simulator.simulator.robots
    robots.secret, robots.keyword, robots.errcode = SECRET, "", 0
    return shared_simulator


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with running() as started:
        yield started


def robot_of(origin: str, secret: str | None = SECRET, clock=now) -> GroupRobot:
    return GroupRobot(f"{origin}{PATH}", secret, clock=clock, timeout_s=(1, 1))


def test_the_signature_is_the_one_that_dingtalk_computes():
    """By ``openssl dgst -sha256 -hmac SECabc -binary``, over the time and the secret."""
    assert signature("SECabc", 1767225600000) == "Tns+q9xy3ZrHUPnf0YouCf2mHINUhrfNLY8ohhAIgfw="


def test_a_signed_message_reaches_the_group(simulator):
    robot_of(simulator.endpoint).post("3 replies were missed")

    (message,) = simulator.simulator.robots.messages
    assert message.accepted
    assert message.access_token == TOKEN
    assert message.text == "3 replies were missed"


@pytest.mark.parametrize(
    ("secret", "clock", "complaint"),
    [
        ("SECother", now, "sign not match"),
        (None, now, "invalid timestamp"),
        (SECRET, lambda: now() - timedelta(hours=2), "invalid timestamp"),
    ],
)
def test_a_wrong_signature_says_what_to_compare(simulator, secret, clock, complaint):
    with pytest.raises(RobotError, match=complaint) as caught:
        robot_of(simulator.endpoint, secret, clock).post("hello")

    assert caught.value.errcode == 310000
    assert "security settings" in str(caught.value)


def test_a_keyword_that_is_not_in_the_text_is_a_failure(simulator):
    simulator.simulator.robots.keyword = "replies"

    with pytest.raises(RobotError, match="keywords not in content"):
        robot_of(simulator.endpoint).post("hello")
    robot_of(simulator.endpoint).post("missed replies")


@pytest.mark.parametrize(
    ("answer", "errcode"),
    [
        ({"errcode": 130101, "errmsg": "send too fast"}, 130101),
        ({"errcode": "400101", "errmsg": f"https://x.example{PATH} is unknown"}, 400101),
        ({"success": True}, None),
        ("<html>ok</html>", None),
    ],
)
def test_http_200_is_no_success(server, answer, errcode):
    server.answers(answer)

    with pytest.raises(RobotError) as caught:
        robot_of(server.url).post("hello")

    assert caught.value.errcode == errcode
    assert TOKEN not in str(caught.value)


def test_a_robot_without_a_secret_gets_no_signature(server):
    server.answers({"errcode": "0", "errmsg": "ok"})

    robot_of(server.url, None).post("hello")

    (seen,) = server.seen
    assert seen.path == PATH


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9", "http://robots.example"])
def test_a_failure_shows_neither_token_nor_signature(origin):
    with pytest.raises(RobotError) as caught:
        robot_of(origin).post("hello")

    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
    assert TOKEN not in shown
    assert "sign=" not in shown


def test_the_token_travels_over_https_only():
    with pytest.raises(RobotError, match="not https"):
        robot_of("http://robots.example").post("hello")
