"""A pool process that dies between reading its job and saying so."""

import pytest

from tests.integration.worker_place import place
from tests.processes import KILLED_AFTER_S

# The first process to get a job ends at the one moment at which nobody else knows of it.
AGENT = """
import os, pathlib, signal
from billiard import pool

died = pathlib.Path(os.environ["GATE"])
workloop = pool.Worker.workloop

def workloop_that_dies(self, *arguments, **options):
    put = self.outq.put
    def put_or_die(item):
        if item[0] == pool.ACK and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        put(item)
    self.outq.put = put_or_die
    return workloop(self, *arguments, **options)

pool.Worker.workloop = workloop_that_dies

def answer(message):
    return f"answer to {message.text}"
"""


@pytest.fixture(params=["embedded", "redis"])
def here(request, tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        if request.param == "embedded":
            somewhere.broker_url = "embedded://"
        (tmp_path / "dying.py").write_text(AGENT)
        yield somewhere


def test_what_it_took_with_it_goes_back_though_the_worker_lives_on(here):
    here.listener()
    worker = here.worker("-P prefork -c 2", AGENT="dying:answer")

    here.simulator.until_answered(here.simulator.say("hello"))

    assert here.gate.exists(), "it died"
    assert [r.text for r in here.simulator.accepted] == ["answer to hello"]
    assert worker.is_running
    code, took_s = worker.terminate()
    assert code == 0
    assert took_s < KILLED_AFTER_S / 2, "nothing is waited for that nobody works on"
