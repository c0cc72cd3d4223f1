"""``celery -A worker doctor`` as it is typed, on setups that are broken: one clear line each."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from contract.routing import QUEUES
from dingwire.simulator import SimulatorThread
from tests import warm
from tests.integration.doctor_place import MARK, black_hole, findings
from tests.processes import ROOT
from tests.servers import free_port

Doctor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread(client_id="dingdoctor", client_secret=f"s{MARK}") as running:
        yield running


def environment(simulator: SimulatorThread, folder: Path, **variables: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(folder / "data"),
        "DINGTALK_CLIENT_ID": "dingdoctor",
        "DINGTALK_CLIENT_SECRET": f"s{MARK}",
        "DINGTALK_ALLOWED_USERS": "alice",
        "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
        "DINGTALK_WEBHOOK_HOSTS": simulator.webhook_host,
        "FLOWER_BASIC_AUTH": f"admin:{MARK}",
        "ALERT_WEBHOOK": f"https://oapi.dingtalk.com/robot/send?access_token={MARK}",
        "ALERT_SECRET": f"SEC{MARK}",
        "ENVELOPE_KEY": Fernet.generate_key().decode(),
        **variables,
    }


@pytest.fixture
def doctor(simulator: SimulatorThread, tmp_path: Path) -> Doctor:
    """Run it; whatever it says, it tells no secret."""

    def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        told = environment(simulator, tmp_path, **variables)
        done = warm.run(["celery", "-A", "worker", "doctor", *options], env=told, cwd=tmp_path)
        shown = done.stdout + done.stderr
        assert MARK not in shown
        assert told["ENVELOPE_KEY"] not in shown
        assert "Traceback" not in shown
        return done

    return run


def test_people_get_a_table(doctor):
    done = doctor()

    assert done.returncode == 1  # nothing runs here
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["settings", "ok"]
    assert "credentials     ok    an access token for dingdoctor" in lines
    assert any(line.startswith("store           FAIL  there is no store at") for line in lines)


def test_a_look_changes_nothing(doctor, simulator, tmp_path):
    simulator.reset()
    doctor("--json", LATE_POLICY="rescue")

    assert not (tmp_path / "data").exists()
    assert simulator.registrations == simulator.connections == simulator.replies == []
    assert not any(send.accepted for send in simulator.proactive)


def test_a_wrong_secret_is_one_line(doctor):
    found = findings(doctor("--json", DINGTALK_CLIENT_SECRET=f"wrong{MARK}"))
    assert found["credentials"][0] == "FAIL"
    assert (
        "DingTalk refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET" in found["credentials"][1]
    )


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_nobody_listens_at_is_one_line(doctor, scheme):
    port = free_port()
    found = findings(
        doctor(
            "--json", BROKER_URL=f"{scheme}://u:{MARK}@127.0.0.1:{port}/", STORE_URL="sqlite:///s"
        )
    )
    assert found["broker"][0] == "FAIL"
    assert (
        f"cannot connect to {scheme} at 127.0.0.1:{port}: connection refused"
        in (found["broker"][1])
    )
    assert found["queues"][0] == "skip"
    assert found["api"][0] == "ok"


def test_a_store_that_is_down_is_one_line_and_the_rest_is_checked(doctor, tmp_path):
    for name in QUEUES:
        (tmp_path / "data" / "broker" / "queues" / name).mkdir(parents=True)
    for url in (f"redis://:{MARK}@127.0.0.1:{free_port()}/0",
                f"postgresql://u:{MARK}@127.0.0.1:{free_port()}/db"):  # fmt: skip
        found = findings(doctor("--json", STORE_URL=url))
        assert found["store"][0] == "FAIL"
        assert "127.0.0.1" in found["store"][1]
        assert found["missed replies"][0] == found["workers"][0] == "skip"
        assert found["deliveries"][0] == "skip"
        assert (found["broker"][0], found["allowed users"][0]) == ("ok", "ok")
        # The workers are asked themselves.
        assert found["queues"][1].startswith("nobody takes messages from messages, turns")


def test_settings_that_cannot_be_read_are_a_line_each(doctor):
    done = doctor(
        BROKER_URL=f"kafka://{MARK}",
        STORE_URL=f"mysql://{MARK}",
        LATE_POLICY=MARK,
        ENVELOPE_KEY=f"{MARK}x",
        ALERT_WEBHOOK=MARK,
    )

    assert (done.returncode, done.stdout) == (2, "")
    said = dict(
        line.removeprefix("cannot read settings: ").split(": ", 1)
        for line in done.stderr.splitlines()
    )
    assert said.keys() == {
        "BROKER_URL", "STORE_URL", "LATE_POLICY", "ENVELOPE_KEY", "ALERT_WEBHOOK",
    }  # fmt: skip
    assert said["BROKER_URL"].startswith("must start with redis://")
    assert said["ENVELOPE_KEY"].startswith("key 1 is not a Fernet key")


def test_machines_are_told_of_unreadable_settings_too(doctor):
    done = doctor("--json", LATE_POLICY=MARK, LEASE_S="0", DINGTALK_ALOWED_USERS="a")
    assert done.returncode == 2
    shown = json.loads(done.stdout)
    assert shown["overall"] == "FAIL"
    assert len([check for check in shown["checks"] if check["status"] == "FAIL"]) == 2
    assert len(done.stderr.splitlines()) == 3


def test_an_unknown_option_is_wrong_usage(doctor):
    done = doctor("--deeper")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_an_agent_that_is_not_there_does_not_stop_the_rest(doctor):
    found = findings(doctor("--json", AGENT="nowhere_at_all:agent"))
    assert found["agent"][0] == "FAIL"
    assert "cannot import nowhere_at_all" in found["agent"][1]
    assert found["credentials"][0] == "ok"


def test_when_nothing_answers_it_still_ends_and_says_so(doctor):
    """Everything hangs at once: DingTalk, broker and store."""
    with black_hole() as port:
        started = time.monotonic()
        done = doctor(
            "--json",
            "--deep",
            "--send-test",
            "alice",
            LATE_POLICY="rescue",
            DINGTALK_OPENAPI_ENDPOINT=f"http://127.0.0.1:{port}",
            DINGTALK_WEBHOOK_HOSTS=f"127.0.0.1:{port},localhost:{port}",
            BROKER_URL=f"amqp://u:{MARK}@127.0.0.1:{port}/",
            STORE_URL=f"redis://:{MARK}@127.0.0.1:{port}/0",
        )
        took_s = time.monotonic() - started

    found = findings(done)
    assert took_s < 60
    assert {name for name, (status, _) in found.items() if status == "FAIL"} >= {
        "credentials", "broker", "store", "send test",
    }  # fmt: skip


def test_a_typo_is_a_warning_that_fails_nothing(doctor):
    found = findings(doctor("--json", DINGTALK_ALOWED_USERS="bob"))
    assert found["settings"] == (
        "warn",
        "DINGTALK_ALOWED_USERS is not read by anything; did you mean DINGTALK_ALLOWED_USERS?",
    )


def test_the_release_makes_the_store_that_the_doctor_misses(doctor, simulator, tmp_path):
    def release(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker.release"],
            env=environment(simulator, tmp_path, **variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    before = findings(doctor("--json"))["store"]
    made, unreadable = release(), release(LATE_POLICY=MARK)
    no_agent = release(AGENT="nowhere_at_all:agent")
    away = release(STORE_URL=f"redis://:{MARK}@127.0.0.1:{free_port()}/0")
    after = findings(doctor("--json"))

    assert before[0] == "FAIL"
    assert (made.returncode, made.stderr) == (0, "")
    assert "store     ok    SQLite: written to and read from" in made.stdout
    assert [each.returncode for each in (unreadable, no_agent, away)] == [2, 2, 1]
    assert unreadable.stderr.startswith("cannot read settings: LATE_POLICY: ")
    assert "agent     FAIL" in no_agent.stderr
    assert "store     FAIL" in away.stderr
    assert MARK not in f"{made}{unreadable.stderr}{no_agent.stderr}{away.stderr}"
    assert (after["store"][0], after["missed replies"]) == ("ok", ("ok", "none; "))
    assert after["workers"][0] == "FAIL"
