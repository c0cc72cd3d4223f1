"""Everything that a deployment writes anywhere, gathered to be searched for what is secret."""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import redis
import requests
from celery import Celery

from tests import warm
from tests.acceptance.deployment import LOGIN, Deployment

__all__ = ["command", "files_of", "flower_pages", "found_in", "inspected", "redis_contents"]

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_TABLE = {
    "draw": "1",
    "start": "0",
    "length": "100",
    "order[0][column]": "0",
    "order[0][dir]": "desc",
    "columns[0][data]": "received",
}


def found_in(content: bytes | str, secrets: Mapping[str, str]) -> set[str]:
    """Return the names of the secrets that are in it, base64 in it included."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    looked_at = b"\n".join([raw, *_decoded(raw)])
    return {name for name, secret in secrets.items() if secret.encode() in looked_at}


def _decoded(raw: bytes) -> Iterator[bytes]:
    for match in _BASE64.finditer(raw):
        text = match[0].rstrip(b"=")
        for decode in (base64.b64decode, base64.urlsafe_b64decode):
            with contextlib.suppress(binascii.Error):
                yield decode(text + b"=" * (-len(text) % 4))


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def redis_contents(url: str) -> bytes:
    """Return every key and value of a database."""
    client: Any = redis.Redis.from_url(url)
    with contextlib.closing(client):
        return b"\n".join(part for key in client.scan_iter() for part in _value(client, key))


def _value(client: Any, key: bytes) -> Iterator[bytes]:
    yield key
    match client.type(key):
        case b"string":
            yield client.get(key)
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"hash":
            for pair in client.hgetall(key).items():
                yield from pair
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"none":  # gone meanwhile
            return
        case other:
            raise AssertionError(f"cannot look into {other}")


def inspected(app: Celery, task_ids: Iterable[str]) -> dict[str, str]:
    """Return what workers answer to everything that remote control can ask."""
    inspect = app.control.inspect(timeout=5, limit=1)  # of one worker
    asked = ("active", "reserved", "scheduled", "revoked", "registered", "stats", "report")
    answers = {name: getattr(inspect, name)() for name in (*asked, "active_queues", "memsample")}
    answers["conf"] = inspect.conf(with_defaults=True)
    answers["active in full"] = inspect.active(safe=False)
    answers["query_task"] = inspect.query_task(*task_ids)
    assert all(answers[name] for name in ("stats", "report", "conf", "query_task"))
    return {f"inspect {name}": repr(answer) for name, answer in answers.items()}


def flower_pages(deployment: Deployment, task_ids: Iterable[str]) -> dict[str, str]:
    """Return Flower's pages and API answers."""
    workers = deployment.flower("/workers", json="1").json()["data"]
    paths = [
        *("/", "/workers", "/workers?json=1", "/tasks", "/broker", "/metrics", "/healthcheck"),
        *("/api/workers?refresh=1", "/api/workers", "/api/tasks", "/api/task/types"),
        *("/api/queues/length", "/no/such/page"),
        *(f"/worker/{worker['hostname']}" for worker in workers),
    ]
    for id_ in task_ids:
        paths += [f"/task/{id_}", f"/api/task/info/{id_}", f"/api/task/result/{id_}"]
    pages = {path: deployment.flower(path).text for path in paths}
    table = deployment.flower("/tasks/datatable", **_TABLE)
    assert table.json()["data"], "Flower's table of tasks is empty"
    without_login = requests.get(f"http://127.0.0.1:{deployment.port}/tasks", timeout=10)
    assert without_login.status_code == 401
    assert LOGIN[0] not in without_login.text
    return {**pages, "/tasks/datatable": table.text, "401": without_login.text}


def command(deployment: Deployment, *arguments: str) -> str:
    """Return what an operator's command prints, on both streams, whatever its exit code."""
    line = ["celery", "-A", "worker", *arguments]
    done = warm.run(line, env=deployment.environment, cwd=deployment.work)
    assert "No such command" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr
