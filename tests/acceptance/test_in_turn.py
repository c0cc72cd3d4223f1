"""Order under load and under a kill, over four worker processes, on each broker."""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import deployed
from tests.acceptance.deployment import MARKER, Deployment
from tests.servers import wait_for

COUNT = 200


@pytest.fixture(params=["redis", "rabbitmq", "embedded"])
def four_workers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("four")
    names = ("one", "two", "three", "four")
    with deployed(request, folder, workers=names, with_web=False) as deployment:
        deployment.release()
        deployment.start()
        yield deployment


@pytest.mark.timeout(600)
def test_a_burst_keeps_its_order_though_a_worker_is_killed_halfway(four_workers):
    """Two hundred messages of one conversation, and one each of two hundred others."""
    simulator = four_workers.simulator
    lane, others = [], []
    for number in range(COUNT):
        lane.append(simulator.say(f"{MARKER} {number} sleep:0.005", "chatterbox"))
        others.append(simulator.say(f"{MARKER} {number}", f"person {number}"))
    four_workers.until_called(lane[: COUNT // 2])

    four_workers.processes["worker-two"].signal(signal.SIGKILL)

    wait_for(
        lambda: len({(r.conversation_id, r.text) for r in simulator.accepted}) == 2 * COUNT,
        limit_s=300,
        what="an answer to each; one may be answered twice",
    )
    four_workers.until_finished(lane + others)
    called = [id_ for id_, _ in four_workers.calls() if id_ in {m.message_id for m in lane}]
    in_order = list(dict.fromkeys(called))
    assert in_order == [m.message_id for m in lane]
    texts = [r.text for r in four_workers.accepted(lane)]
    assert list(dict.fromkeys(texts)) == [f"you said {m.text}" for m in lane]
    # One whose post was under way at the kill may be answered again; no other.
    replies = Counter((r.conversation_id, r.text) for r in four_workers.accepted(lane + others))
    assert len(replies) == 2 * COUNT
    assert len(texts) - COUNT in {0, 1}
