"""``worker.agents.http`` in a real worker: a message goes to a server, its answer to the chat."""

import pytest

from dingwire.simulator import SimulatorThread
from tests.integration.worker_place import WorkerPlace, place
from tests.unit.dingwire.local_server import LocalServer, Told, running

STREAM = Told(
    200, 'data: "one "\n\ndata: "two"\n\nevent: done\n\n', {"Content-Type": "text/event-stream"}
)


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def here(tmp_path_factory, redis_url, server: LocalServer):
    with place(tmp_path_factory.mktemp("http"), redis_url) as somewhere:
        somewhere.worker(
            AGENT="worker.agents.http:agent",
            HTTP_AGENT_URL=f"{server.url}/ask",
            HTTP_AGENT_SECRET="a secret that is long enough",
            AGENT_RETRIES="1",
            THINKING="card",
            CARD_TEMPLATE_ID="x.schema",
        )
        somewhere.listener()
        yield somewhere


@pytest.fixture(autouse=True)
def _nothing_asked_yet(server: LocalServer):
    """The tests share a worker and its server, and come in any order."""
    server.by_path.clear()
    server.seen.clear()


def asked(here: WorkerPlace, text: str) -> str:
    simulator: SimulatorThread = here.simulator
    return simulator.until_answered(simulator.say(text, text))


def test_a_stream_becomes_a_card_and_json_a_message(here, server):
    server.default = STREAM
    assert asked(here, "stream") == "one two"
    server.answers({"reply": "hi"})
    assert asked(here, "json") == "hi"

    first, second = server.seen
    assert (first.body["text"], second.body["text"]) == ("stream", "json")
    assert 0 < second.body["remaining_s"] <= 300
    assert second.headers["webhook-signature"].startswith("v1,")
    assert "one two" in [card.text for card in here.simulator.cards.values()]


def test_a_busy_server_is_asked_again_when_it_says(here, server):
    busy = Told(503, "", {"Retry-After": "1"})
    server.answers_at("/ask", busy, Told(200, {"reply": "now I can"}))

    assert asked(here, "busy") == "now I can"

    first, second = server.seen
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_a_server_that_fails_is_a_missed_reply_with_its_status(here, server):
    server.answers("", status=500)

    here.simulator.say("fail", "carol")
    here.simulator.until(lambda _: here.missed(), what="the missed reply")

    [missed] = here.missed()
    assert (missed["reason"], missed["detail"]) == ("agent_failed", "answered 500")
