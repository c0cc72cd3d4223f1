"""What platforms read: app.json, Dockerfile, compose.yaml, the manifests in docs/deploy.md."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices

from contract.variables import AGENT_VARIABLES
from listener.settings import ListenerSettings
from tests.processes import ROOT, procfile
from worker.settings import WorkerSettings

APP: dict[str, Any] = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for manifest in yaml.safe_load_all(block)
]

# Those of Heroku's page "app.json schema".
APP_KEYS = {
    *("name", "description", "keywords", "website", "repository", "logo", "success_url"),
    *("scripts", "env", "formation", "image", "addons", "buildpacks", "environments", "stack"),
}
ENV_KEYS = {"description", "value", "required", "generator"}
FLOWERS = {"FLOWER_BASIC_AUTH"}
OF_PLATFORMS = {"PORT"}
DEFAULT_GRACE_S = float(WorkerSettings.model_fields["shutdown_grace_s"].default)
POSTING_S = 15  # how long a reply that is being posted is waited for


def _variables() -> set[str]:
    """The names of all variables that our processes read."""
    names: set[str] = set()
    for field in [*ListenerSettings.model_fields.values(), *WorkerSettings.model_fields.values()]:
        alias = field.validation_alias
        names |= set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {str(alias)}
    return names | AGENT_VARIABLES | FLOWERS | OF_PLATFORMS


def test_app_json_has_fields_that_heroku_knows():
    assert APP.keys() <= APP_KEYS
    assert APP["name"]
    assert len(APP["name"]) <= 30
    assert re.fullmatch(r"heroku-\d\d", APP["stack"])
    assert APP["buildpacks"] == [{"url": "heroku/python"}]
    assert [addon["plan"].partition(":")[0] for addon in APP["addons"]] == ["heroku-redis"]


def test_app_json_asks_for_settings_that_exist_and_says_what_they_are():
    for name, entry in APP["env"].items():
        assert name in _variables(), name
        assert entry.keys() <= ENV_KEYS, name
        assert entry["description"], name
        assert isinstance(entry.get("value", ""), str), name
    required = {n for n, e in APP["env"].items() if e.get("required", True) and "value" not in e}
    assert required == {"DINGTALK_CLIENT_ID", "DINGTALK_CLIENT_SECRET", "FLOWER_BASIC_AUTH"}


def test_the_values_that_app_json_proposes_are_valid():
    proposed = {name: e["value"] for name, e in APP["env"].items() if "value" in e}
    fields = {str(f.validation_alias): name for name, f in WorkerSettings.model_fields.items()}
    values = {fields[name]: value for name, value in proposed.items()}

    settings = WorkerSettings.load(**values)

    assert settings.shutdown_grace_s + POSTING_S < 30, "Heroku kills after 30 s"


def test_app_json_starts_every_process_of_the_procfile():
    assert APP["formation"].keys() == procfile().keys() - {"release"}
    assert all(entry["quantity"] == 1 for entry in APP["formation"].values())


def _instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_image_is_slim_and_of_the_python_that_deploys_use():
    python = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert _instructions()[0] == ("FROM", f"python:{python}-slim")


def test_the_image_runs_as_somebody_else_than_root():
    users = [value for name, value in _instructions() if name == "USER"]
    assert users
    assert int(users[-1]) > 0


def test_the_image_installs_what_is_pinned_then_the_project():
    runs = " && ".join(value for name, value in _instructions() if name == "RUN")
    assert runs.index("-r pinned.txt") < runs.index("--no-deps .")
    assert ("ENTRYPOINT", '["/app/deploy/start"]') in _instructions()
    assert os.access(ROOT / "deploy" / "start", os.X_OK)


def test_no_secret_and_no_history_goes_into_the_image():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ".*" in ignored  # .env, .git, .venv, .data
    assert not any(line.startswith("!.env") for line in ignored)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder as the image has it, with processes that say how they were called."""
    for file in ("Procfile", "deploy/start"):
        target = tmp_path / file
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((ROOT / file).read_bytes())
        target.chmod(0o755)
    (tmp_path / "bin").mkdir()
    for name in ("python", "celery", "echo"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@"; echo $$; cat\n')
        program.chmod(0o755)
    return tmp_path


def _started(image: Path, *words: str) -> tuple[str, bool]:
    """Return what was called, and whether it has the process id of the container's first one."""
    process = subprocess.Popen(
        [image / "deploy" / "start", *words],
        cwd=image,
        env={"PATH": f"{image}/bin:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate(timeout=10)
    called, _, pid = said.strip().rpartition("|")
    return called, pid == str(process.pid)


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["listener"], "python|-m|listener"),
        (["release"], "python|-m|worker.release"),
        (["web"], "python|-m|worker.web"),
        (["worker"], "celery|-A|worker|worker"),
        (["worker", "-n", "two words@%h"], "celery|-A|worker|worker|-n|two words@%h"),
        (["celery", "-A", "worker", "doctor"], "celery|-A|worker|doctor"),
    ],
)
def test_the_first_word_chooses_the_process_and_signals_reach_it(image, words, called):
    assert _started(image, *words) == (called, True)


def test_an_image_that_is_told_nothing_says_what_it_can_do(image):
    done = subprocess.run([image / "deploy" / "start"], cwd=image, capture_output=True, check=False)
    assert done.returncode == 64
    assert b"listener, worker, web, release" in done.stderr


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_compose_runs_every_process_and_a_redis_that_forgets_nothing():
    services = COMPOSE["services"]
    commands = {name: s["command"] for name, s in services.items() if name != "redis"}
    assert set(commands.values()) == procfile().keys()
    assert services["worker"]["deploy"]["replicas"] == 2
    assert "--appendonly yes" in services["redis"]["command"]
    assert "--maxmemory-policy noeviction" in services["redis"]["command"]
    assert "redis:/data" in services["redis"]["volumes"]
    assert {v.partition(":")[0] for s in services.values() for v in s.get("volumes", [])} == set(
        COMPOSE["volumes"]
    )


def test_compose_brings_processes_back_except_the_one_that_ends():
    restarts = {name: service["restart"] for name, service in COMPOSE["services"].items()}
    assert restarts.pop("release") == "no"
    assert set(restarts.values()) == {"unless-stopped"}


def test_compose_starts_nothing_without_credentials_and_a_login():
    settings = COMPOSE["services"]["flower"]["environment"]
    required = {name for name, value in settings.items() if re.match(r"\$\{\w+:\?", value)}
    assert required == {"DINGTALK_CLIENT_ID", "DINGTALK_CLIENT_SECRET", "FLOWER_BASIC_AUTH"}
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["flower"]["ports"])


def test_compose_asks_the_listener_how_it_is_and_gives_workers_their_time():
    listener, worker = COMPOSE["services"]["listener"], COMPOSE["services"]["worker"]
    assert (
        f":{listener['environment']['HEALTH_PORT']}/healthz" in listener["healthcheck"]["test"][3]
    )
    assert _seconds(worker["stop_grace_period"]) >= DEFAULT_GRACE_S + POSTING_S
    for service in COMPOSE["services"].values():
        assert set(service.get("environment", {})) <= _variables()


def _pods() -> dict[str, dict[str, Any]]:
    return {
        m["metadata"]["name"]: m["spec"]["template"]["spec"]
        for m in MANIFESTS
        if m["kind"] in {"Deployment", "Job"}
    }


def _container(name: str) -> dict[str, Any]:
    [container] = _pods()[f"dingtalk-{name}"]["containers"]
    return dict(container)


def test_the_manifests_run_every_process():
    assert {m["apiVersion"] for m in MANIFESTS} == {"v1", "apps/v1", "batch/v1", "policy/v1"}
    assert {word for pod in _pods().values() for word in pod["containers"][0]["args"]} == (
        procfile().keys()
    )
    for manifest in MANIFESTS:
        if manifest["kind"] == "Deployment":
            spec = manifest["spec"]
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_a_listener_is_killed_for_less_than_it_is_taken_for_not_ready():
    container = _container("listener")
    ready, alive = container["readinessProbe"], container["livenessProbe"]
    assert ready["httpGet"]["path"] == "/healthz"
    assert alive["httpGet"]["path"] == "/livez"
    patience = [p["periodSeconds"] * p["failureThreshold"] for p in (ready, alive)]
    assert patience[0] < patience[1]


def test_kubernetes_gives_workers_their_time_and_nothing_stands_before_sigterm():
    grace_s = float(MANIFESTS[1]["data"]["SHUTDOWN_GRACE_S"])
    pod = _pods()["dingtalk-worker"]
    assert pod["terminationGracePeriodSeconds"] >= grace_s + POSTING_S
    assert "lifecycle" not in _container("worker")
    assert "TimeoutStopSec=40" in PAGE


def test_kubernetes_keeps_one_of_each_while_nodes_are_emptied():
    budgets = [m["spec"] for m in MANIFESTS if m["kind"] == "PodDisruptionBudget"]
    kept = {b["selector"]["matchLabels"]["app"]: b["minAvailable"] for b in budgets}
    assert kept == {"dingtalk-listener": 1, "dingtalk-worker": 1}
    deployments = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == "Deployment"}
    assert all(deployments[name]["spec"]["replicas"] >= 2 for name in kept)


def test_the_manifests_set_variables_that_exist():
    secret, config = MANIFESTS[:2]
    named = {*secret["stringData"], *config["data"]}
    for pod in _pods().values():
        named |= {entry["name"] for entry in pod["containers"][0].get("env", [])}
    assert named <= _variables()


def test_no_pod_is_given_variables_named_after_services():
    """``FLOWER_PORT=tcp://…`` of a Service ``flower`` would be taken for a setting."""
    assert _pods()
    assert all(pod["enableServiceLinks"] is False for pod in _pods().values())


def test_a_port_that_is_probed_is_the_one_that_is_opened():
    for name, variable in [
        ("listener", "HEALTH_PORT"),
        ("worker", "METRICS_PORT"),
        ("web", "PORT"),
    ]:
        container = _container(name)
        [value] = [e["value"] for e in container["env"] if e["name"] == variable]
        assert [port["containerPort"] for port in container["ports"]] == [int(value)]
