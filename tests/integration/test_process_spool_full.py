"""A full spool on one end, ``celery -A worker late list`` on the other."""

import ast
import contextlib

import pytest
from celery import Celery

from tests.integration.worker_place import place
from tests.servers import Restartable, wait_for
from tests.watching import watching

SAID = 120


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def test_what_did_not_fit_on_the_disk_is_listed_and_the_rest_answered(here):
    broker = Restartable("redis", here.folder / "broker")
    here.broker_url = broker.start()
    with contextlib.ExitStack() as running:
        broker.stop()
        running.callback(broker.stop)
        here.start("python -m listener", SPOOL_MAX_MB="1")
        here.simulator.until_connected(1)
        said = [here.simulator.say(f"{n} " + "x" * 12_000).message_id for n in range(SAID)]
        wait_for(lambda: len(here.simulator.message_acks) == SAID, what="the acks")
        (here.folder / "brief.py").write_text("def agent(message): return message.text[:5]\n")
        broker.start()
        watcher = Celery("watcher", broker=here.broker_url, set_as_current=False)
        events = running.enter_context(watching(watcher))
        here.worker(AGENT="brief:agent")
        wait_for(
            lambda: len(here.simulator.accepted) + len(here.missed()) == SAID,
            what="every message to be answered or listed",
        )

        missed = here.missed()

        def shown() -> set[str]:
            """Message ids that Flower shows as FLAGGED."""
            flagged = {e["uuid"] for e in events if e["type"] == "task-flagged"}
            known = {e["uuid"]: e for e in events if e["type"] == "task-received"}
            return {ast.literal_eval(known[id_]["kwargs"])["message_id"] for id_ in flagged}

        ids = {m["message_id"] for m in missed}
        wait_for(lambda: shown() == ids, what="Flower to be told of every loss")

    assert 0 < len(missed) < SAID
    assert {m["message_id"] for m in missed} == set(said[: len(missed)])
    assert {(m["state"], m["reason"]) for m in missed} == {("FLAGGED", "spool_full")}
