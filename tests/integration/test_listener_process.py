"""The command: exit codes, signals, what it says."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.broker import Broker
from dingwire.simulator import Simulator
from listener.spool import Spool
from tests.listening import envelopes_on
from tests.processes import KILLED_AFTER_S

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "listener")


def _environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@asynccontextmanager
async def _process(simulator: Simulator, folder: Path, *, connected: bool = True, **variables: str):
    """Run the command; its log goes to ``folder/log``."""
    settings = {
        "DINGTALK_CLIENT_ID": "ding1",
        "DINGTALK_CLIENT_SECRET": "s3cret",
        "DINGTALK_ALLOWED_USERS": "*",
        "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
        "LOG_LEVEL": "DEBUG",
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, env=_environment(**settings | variables), cwd=folder, stderr=log
        )
        try:
            if connected:
                await simulator.until_connected()
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _end(process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> float:
    """Signal it; return how long it took to end."""
    started = time.monotonic()
    process.send_signal(number)
    await asyncio.wait_for(process.wait(), KILLED_AFTER_S)
    return time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_soon_and_well(simulator, tmp_path, number):
    async with _process(simulator, tmp_path) as process:
        await simulator.say("hello")
        await simulator.until(lambda s: s.message_acks)

        took_s = await _end(process, number)

    assert process.returncode == 0
    assert took_s < KILLED_AFTER_S / 2
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert simulator.connections[0].close_code == 1000
    assert len(envelopes_on(Broker.from_url("embedded://", tmp_path / ".data"))) == 1


async def test_stopped_under_load_it_loses_nothing_that_it_acknowledged(simulator, tmp_path):
    async with _process(simulator, tmp_path) as process:
        talking = asyncio.create_task(_talk(simulator))
        await simulator.until(lambda s: len(s.message_acks) > 100)

        await _end(process)
        talking.cancel()

    assert process.returncode == 0
    enqueued = {
        e.message_id for e in envelopes_on(Broker.from_url("embedded://", tmp_path / ".data"))
    }
    # On a machine that is busy the disk may have taken what the broker was slow for.
    spool = Spool(tmp_path / ".data" / "spool", max_bytes=2**20)
    spool.open()
    left = spool.head(10_000)
    spool.close()
    kept = enqueued | {task.envelope["message_id"] for task in (left.tasks if left else ())}
    assert {ack.message_id for ack in simulator.message_acks} <= kept


async def _talk(simulator: Simulator) -> None:
    while True:
        await simulator.say("hello")
        await asyncio.sleep(0.002)


async def test_a_registration_that_hangs_does_not_keep_it(tmp_path):
    async with (
        Simulator(registration_delay_s=120) as simulator,
        _process(simulator, tmp_path, connected=False) as process,
    ):
        await asyncio.sleep(1.5)

        took_s = await _end(process)

    assert process.returncode == 0
    assert took_s < KILLED_AFTER_S / 2


async def test_nothing_private_is_logged_even_at_debug(simulator, tmp_path):
    async with _process(simulator, tmp_path) as process:
        message = await simulator.say("xyzzy")
        await simulator.until(lambda s: s.message_acks)
        await _end(process)

    log = (tmp_path / "log").read_text()
    assert message.message_id in log
    for private in ("xyzzy", "sendBySession", "s3cret", simulator.tickets_seen[0]):
        assert private not in log


async def test_with_nobody_allowed_it_says_so_at_once(simulator, tmp_path):
    async with _process(simulator, tmp_path, DINGTALK_ALLOWED_USERS="") as process:
        await _end(process)

    warnings = [
        line for line in (tmp_path / "log").read_text().splitlines() if "everybody_denied" in line
    ]
    assert len(warnings) == 1
    assert "EVERYBODY IS DENIED" in warnings[0]
    assert "DINGTALK_ALLOWED_USERS" in warnings[0]


def _run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=_environment(**variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_bad_settings_exit_2_and_name_every_variable_and_no_value(tmp_path):
    done = _run(
        tmp_path,
        DINGTALK_CLIENT_ID="ding1",
        REPLY_WITHIN_S="hunter2",
        BROKER_URL="hunter2://",
        LOG_FORMAT="hunter2",
    )

    assert done.returncode == 2
    assert {line.partition(": ")[0] for line in done.stderr.splitlines()} == {
        "cannot read settings"
    }
    for name in ("DINGTALK_CLIENT_SECRET", "REPLY_WITHIN_S", "BROKER_URL", "LOG_FORMAT"):
        assert f": {name}: " in done.stderr
    assert "DINGTALK_CLIENT_SECRET: Field required" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (
            {"BROKER_URL": "redis://user:hunter2/x@127.0.0.1:6379/0"},
            "BROKER_URL: cannot be read; is its password percent-encoded?",
        ),
        ({"DATA_DIR": "/proc/nope"}, "DATA_DIR: cannot be written to: No such file or directory"),
    ],
)
def test_what_could_never_work_ends_it_with_one_line(tmp_path, variables, complaint):
    bot = {"DINGTALK_CLIENT_ID": "ding1", "DINGTALK_CLIENT_SECRET": "s3cret"}

    done = _run(tmp_path, **bot, **variables)

    assert (done.returncode, done.stderr) == (2, f"cannot read settings: {complaint}\n")


def test_the_toml_file_is_enough(tmp_path):
    (tmp_path / "config.toml").write_text(
        '[channels_config.dingtalk]\nclient_id = "ding1"\nreply_within_s = -1\n'
    )

    done = _run(tmp_path, DINGTALK_CONFIG="config.toml")

    assert done.returncode == 2
    assert "DINGTALK_CLIENT_ID" not in done.stderr
    assert "REPLY_WITHIN_S: " in done.stderr


def test_help_names_what_is_required(tmp_path):
    done = _run(tmp_path, "--help")

    assert done.returncode == 0
    assert "DINGTALK_CLIENT_SECRET" in done.stdout


@pytest.mark.parametrize("broker", ["embedded", "redis", "rabbitmq"])
def test_it_stays_light(broker, tmp_path, request):
    """Everything it uses, with a connection to the broker open, and no celery."""
    url = "embedded://" if broker == "embedded" else request.getfixturevalue(f"{broker}_url")
    code = (
        "import sys, pathlib, listener.__main__\n"
        "from contract.broker import Broker\n"
        "from listener.publisher import new_publisher\n"
        "publisher = new_publisher(Broker.from_url(sys.argv[1], pathlib.Path(sys.argv[2])))\n"
        "publisher.open()\n"
        "publisher.publish([], print)\n"
        "publisher.close()\n"
        "heavy = {'celery', 'aiohttp', 'sqlalchemy', 'flower', 'dingtalk_stream'}\n"
        "heavy.add('prometheus_client')  # for those who set HEALTH_PORT\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, url, str(tmp_path)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert done.stdout == "[]\n"
