"""``python -m listener --check``: the listener's half, on good days and on bad ones."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dingwire.simulator import SimulatorThread
from tests.integration.doctor_place import MARK, black_hole, findings
from tests.processes import ROOT

Check = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ["settings", "allowed users", "api", "credentials", "clock", "stream", "broker", "spool"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread(client_id="dingcheck", client_secret=f"s{MARK}") as running:
        yield running


@pytest.fixture
def check(simulator: SimulatorThread, tmp_path: Path) -> Check:
    """Run it; whatever it says, it tells no secret."""

    def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "listener", *options],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DATA_DIR": str(tmp_path / "data"),
                "DINGTALK_CLIENT_ID": "dingcheck",
                "DINGTALK_CLIENT_SECRET": f"s{MARK}",
                "DINGTALK_ALLOWED_USERS": "*",
                "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
                **variables,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert MARK not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_on_a_good_day_all_is_well_and_nothing_has_happened(check, simulator, tmp_path):
    simulator.reset()
    found = findings(check("--check", "--json"))

    assert list(found) == NAMES
    assert {status for name, (status, _) in found.items() if name != "stream"} == {"ok"}
    assert found["stream"][0] == "skip"
    assert simulator.registrations == simulator.connections == []
    assert not (tmp_path / "data").exists()


def test_each_of_several_bots_is_looked_at(check, simulator):
    simulator.reset()
    tables = [
        {"client_id": "dinghelp", "client_secret": f"t{MARK}", "name": "help", "allowed_users": []}
    ]
    found = findings(check("--check", "--json", DINGTALK_BOTS=json.dumps(tables)))

    assert list(found) == [
        "settings",
        *("allowed users (dingcheck)", "allowed users (help)"),
        *("api", "credentials (dingcheck)", "clock", "stream (dingcheck)"),
        *("credentials (help)", "stream (help)"),
        *("broker", "spool"),
    ]
    status = {name: status for name, (status, _) in found.items()}
    assert (status["credentials (dingcheck)"], status["credentials (help)"]) == ("ok", "FAIL")
    assert status["allowed users (help)"] == "FAIL"


def test_people_get_a_table(check):
    done = check("--check")
    assert done.returncode == 0
    assert [line[:15].strip() for line in done.stdout.splitlines()] == NAMES


def test_deep_opens_a_connection_for_a_moment(check, simulator):
    simulator.reset()
    found = findings(check("--check", "--deep", "--json"))
    assert found["stream"][0] == "ok"
    simulator.until(lambda s: s.connections and not s.live_connections, what="a closed connection")


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({"DINGTALK_CLIENT_SECRET": f"no{MARK}"}, "credentials", "DingTalk refused DINGTALK_"),
        ({"DINGTALK_ALLOWED_USERS": ""}, "allowed users", "EVERYBODY IS DENIED"),
        ({"DATA_DIR": "/proc/nowhere", "BROKER_URL": "redis://127.0.0.1:1"}, "spool", "cannot be"),
        ({"BROKER_URL": f"redis://:{MARK}@127.0.0.1:1/0"}, "broker", "connection refused"),
        ({"BROKER_URL": f"amqps://u:{MARK}@127.0.0.1:1//"}, "broker", "connection refused"),
        ({"DINGTALK_OPENAPI_ENDPOINT": "http://127.0.0.1:1"}, "api", "connection refused"),
    ],
)
def test_what_is_wrong_is_one_line(check, variables, name, words):
    found = findings(check("--check", "--json", **variables))
    assert found[name][0] == "FAIL"
    assert words in found[name][1]


def test_settings_that_cannot_be_read_are_a_line_each_with_the_typo_behind_them(check):
    done = check("--check", DINGTALK_CLIENT_ID="", DINGTALK_CLIENTID="x", CONNECTIONS="many")
    shown = check("--check", "--json", CONNECTIONS="many")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "cannot read settings: DINGTALK_CLIENT_ID: Field required",
        "cannot read settings: CONNECTIONS: Input should be a valid integer, "
        "unable to parse string as an integer",
        "DINGTALK_CLIENTID is not read by anything; did you mean DINGTALK_CLIENT_ID?",
    ]
    assert shown.returncode == 2
    assert json.loads(shown.stdout)["overall"] == "FAIL"


@pytest.mark.parametrize("options", [["--chek"], ["--deep"], ["--json"], ["--check", "extra"]])
def test_wrong_usage_is_exit_2(check, options):
    assert check(*options).returncode == 2


def test_help_says_what_it_does_and_how_it_ends(check):
    done = check("--help")
    assert done.returncode == 0
    for words in ("--check", "--deep", "--json", "Exit 0 when nothing fails, 1 when something"):
        assert words in done.stdout


def test_when_nothing_answers_it_still_ends(check):
    with black_hole() as port:
        started = time.monotonic()
        found = findings(
            check(
                "--check",
                "--deep",
                "--json",
                DINGTALK_OPENAPI_ENDPOINT=f"http://127.0.0.1:{port}",
                BROKER_URL=f"redis://:{MARK}@127.0.0.1:{port}/0",
            )
        )
    assert time.monotonic() - started < 60
    assert (found["credentials"][0], found["broker"][0]) == ("FAIL", "FAIL")


def test_it_needs_no_worker_code(tmp_path):
    program = (
        "import sys, listener.check\n"
        "heavy = {'celery', 'sqlalchemy', 'worker', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
