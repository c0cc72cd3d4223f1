"""Two listener processes, each with two connections, and everything pushed more than once."""

from collections import Counter

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for

MESSAGES = 60


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def test_no_message_is_answered_twice_and_none_is_lost_when_one_listener_dies(here):
    """DingTalk pushes again, to whichever connection it likes, what it pushed before."""
    here.gate.touch()
    here.simulator.switch(redeliver_after_s=1.0, redeliver_acked=True, redeliver_times=3)
    one, _ = (here.start("python -m listener", CONNECTIONS="2") for _ in range(2))
    here.simulator.until_connected(4)
    here.worker()
    for number in range(MESSAGES):
        if number == MESSAGES // 2:
            one.kill()
        here.simulator.say(f"hello {number}", person=f"person {number % 6}")

    wait_for(
        lambda: len({r.text for r in here.simulator.accepted}) == MESSAGES,
        what="all answers",
    )
    wait_for(
        lambda: all(len(m.pushes) == 4 for m in here.simulator.messages),
        what="every push",
    )
    here.simulator.say("the last one")
    wait_for(
        lambda: "answer to the last one" in {r.text for r in here.simulator.accepted},
        what="the last answer",
    )

    answers = Counter(r.text for r in here.simulator.accepted)
    assert len(answers) == MESSAGES + 1
    assert set(answers.values()) == {1}
    assert len(here.runs) == MESSAGES + 1
