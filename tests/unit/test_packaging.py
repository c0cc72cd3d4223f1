"""The files around the code say what the code says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

from contract.settings import TOML_KEYS
from listener.settings import ListenerSettings
from scripts.configuration import PAGE, document
from scripts.run import make_plan
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_configuration_page_is_what_the_settings_say():
    assert PAGE.read_text(encoding="utf-8") == document(), "run make docs"


def test_the_toml_file_may_hold_what_a_process_reads_and_nothing_else():
    fields = ListenerSettings.model_fields.keys() | WorkerSettings.model_fields.keys()
    assert fields - TOML_KEYS == {"addon_store_url"}  # an add-on sets variables
    assert fields >= TOML_KEYS


def test_a_deploy_installs_pinned_packages_and_then_the_project():
    first, *pins, project = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert project == "."
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", pin)] == []


def test_what_a_deploy_may_need_is_pinned():
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name in (
        "celery",
        "flower",
        "kombu",
        "openai",
        "psycopg-binary",
        "redis",
        "sqlalchemy",
        "websockets",
    ):
        assert f"\n{name}==" in pinned


def test_the_procfile_starts_the_documented_commands():
    assert parse_procfile((ROOT / "Procfile").read_text()).processes == {
        "listener": "python -m listener",
        "worker": "celery -A worker worker",
        "web": "python -m worker.web",
        "release": "python -m worker.release",
    }


def test_a_listener_imports_nothing_that_only_workers_need():
    program = (
        "import sys, listener.__main__\n"
        "heavy = {'celery', 'sqlalchemy', 'flower', 'tornado', 'aiohttp'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_listeners_install_brings_no_worker():
    names = {re.split(r"[<>=\[]", each)[0] for each in PYPROJECT["project"]["dependencies"]}
    shared = {"kombu", "prometheus-client", "pydantic", "pydantic-settings"}
    assert names == shared | {"requests", "urllib3", "websockets"}


@pytest.fixture
def debian(tmp_path):
    """Run ``scripts/check-python`` where ``python3`` lacks a package until apt has installed it."""
    programs = {
        "python3": f'case "$2" in *ensurepip*) test -e {tmp_path}/installed;; esac',
        "id": "echo $USER_ID",
        "apt-get": f'echo "$@" >>{tmp_path}/apt\n'
        f'case "$*" in $APT_GIVES) touch {tmp_path}/installed;; esac',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def check(user_id: int, apt_gives: str) -> tuple[int, str, list[str]]:
        done = subprocess.run(
            [ROOT / "scripts" / "check-python", "python3"],
            env={"PATH": f"{tmp_path}:/bin", "USER_ID": str(user_id), "APT_GIVES": apt_gives},
            capture_output=True,
            text=True,
            check=False,
        )
        apt = tmp_path / "apt"
        asked = [line.split()[0] for line in apt.read_text().splitlines()] if apt.exists() else []
        return done.returncode, done.stderr, asked

    return check


def test_root_on_debian_gets_what_makes_environments(debian):
    assert debian(0, "*python3-venv*") == (0, "", ["update", "install"])
    assert debian(0, "*python3-venv*") == (0, "", ["update", "install"]), "once is enough"


@pytest.mark.parametrize(
    ("user_id", "asked"), [(1000, []), (0, ["update", "install"])], ids=["a user", "apt has none"]
)
def test_who_cannot_have_it_installed_is_told_the_command(debian, user_id, asked):
    code, said, commands = debian(user_id, "nothing")
    assert (code, commands) == (1, asked)
    assert "sudo apt-get update && sudo apt-get install python3-venv" in said


@pytest.fixture
def _folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "DINGTALK_CONFIG",
        "DINGTALK_CLIENT_ID",
        "DINGTALK_CLIENT_SECRET",
        "DINGTALK_ALLOWED_USERS",
        "DATA_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_folder_of_its_own")
def test_the_processes_of_a_run_hear_no_port_that_would_open_flower():
    plan = make_plan({"PORT": "80", "PATH": "/bin"})
    assert "PORT" not in plan.environment


@pytest.mark.usefixtures("_folder_of_its_own")
def test_flowers_password_is_kept_for_its_owner_only(tmp_path):
    first, second = (make_plan({}).environment["FLOWER_BASIC_AUTH"] for _ in range(2))
    kept = tmp_path / ".data" / "flower-password"
    assert first == second == f"admin:{kept.read_text().strip()}"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("_folder_of_its_own")
def test_a_login_of_ones_own_is_left_alone():
    plan = make_plan({"FLOWER_BASIC_AUTH": "me:mine"})
    assert plan.environment["FLOWER_BASIC_AUTH"] == "me:mine"
    assert "mine" not in plan.banner


@pytest.mark.usefixtures("_folder_of_its_own")
def test_everybody_is_allowed_in_a_simulated_run_only(tmp_path, monkeypatch):
    simulated = make_plan({})
    assert simulated.is_simulated
    assert simulated.environment["DINGTALK_ALLOWED_USERS"] == "*"
    assert simulated.environment["DINGTALK_WEBHOOK_HOSTS"].startswith("127.0.0.1:")
    assert simulated.environment["DINGTALK_MEDIA_HOSTS"].startswith("127.0.0.1:")

    monkeypatch.setenv("DINGTALK_CLIENT_ID", "dingreal")
    monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hunter2")
    real = make_plan({})
    assert not real.is_simulated
    assert "DINGTALK_ALLOWED_USERS" not in real.environment
    assert "DINGTALK_WEBHOOK_HOSTS" not in real.environment
    assert "DINGTALK_MEDIA_HOSTS" not in real.environment
    assert "EVERYBODY IS DENIED" in real.banner
    assert "hunter2" not in real.banner


def test_our_commands_are_some_of_the_program_celery():
    """As it is started by an operator; other tests do so in a warm process."""
    shown = subprocess.run(
        [Path(sys.executable).with_name("celery"), "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    commands = PYPROJECT["project"]["entry-points"]["celery.commands"]
    assert commands.keys() - set(re.findall(r"^  (\w+)", shown, re.MULTILINE)) == set()
