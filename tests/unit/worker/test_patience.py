"""Work in hand waits for a store that is away, until the process is told to stop."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_for
from worker.patience import PatientStore
from worker.store import (
    Lease,
    LeaseLostError,
    Reason,
    StopResult,
    StoreError,
    StoreUnavailableError,
)

LEASE = Lease("task1", "me", 1)


class Script:
    """A store that does what it is told, call by call."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            step = self.steps.pop(0) if self.steps else None
            if isinstance(step, Exception):
                raise step
            return step

        return call


WRITES = {
    "claim": lambda s: s.claim("task1", owner="me", lease_s=1, envelope=None),
    "keep_answer": lambda s: s.keep_answer(LEASE, "an answer"),
    "release": lambda s: s.release(LEASE, due_in_s=1, attempts=2),
    "finish": lambda s: s.finish(LEASE, "SUCCESS"),
    "miss": lambda s: s.miss(
        LEASE, state="FLAGGED", reason=Reason.THROTTLED, errcode=1, detail="x"
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_tried_until_the_store_is_back(name):
    script = Script(StoreUnavailableError("away"), None)

    WRITES[name](PatientStore(script, print))

    first, second = script.calls
    assert first == second
    assert first[0] == name


@pytest.mark.parametrize("name", sorted(set(WRITES) - {"claim"}))
def test_what_was_done_is_recorded_whatever_the_store_says_meanwhile(name, caplog):
    """Giving up would have the agent run again, or the reply posted again."""
    script = Script(StoreError("a fault nobody thought of"), None)

    WRITES[name](PatientStore(script, print))

    assert len(script.calls) == 2
    line = caplog.records[0]
    assert (line.levelname, vars(line)["action"]) == ("ERROR", "store_away")
    assert "a fault nobody thought of" in line.getMessage()


def test_an_outage_is_said_once_and_so_is_its_end(caplog):
    """Hundreds of messages may wait, and each tries again every few seconds."""
    caplog.set_level("INFO")
    away = StoreUnavailableError("away")
    store = PatientStore(Script(away, away, None, None, away, None), print)

    for _ in range(3):
        store.keep_answer(LEASE, "an answer")

    said = [vars(record)["action"] for record in caplog.records]
    assert said == ["store_away", "store_back", "store_away", "store_back"]


def test_a_claim_that_fails_is_left_to_others():
    script = Script(StoreError("bad"))

    with pytest.raises(StoreError):
        WRITES["claim"](PatientStore(script, print))
    assert len(script.calls) == 1


@pytest.mark.parametrize("name", WRITES)
def test_a_lost_lease_is_not_waited_for(name):
    script = Script(LeaseLostError("task1"))

    with pytest.raises(LeaseLostError):
        WRITES[name](PatientStore(script, print))
    assert len(script.calls) == 1


@pytest.mark.parametrize("name", ["release", "finish", "miss"])
@pytest.mark.parametrize("error", [StoreUnavailableError("away"), StoreError("bad")])
def test_a_lease_that_is_gone_at_the_second_try_was_given_up_by_the_first(name, error):
    WRITES[name](PatientStore(Script(error, LeaseLostError("task1")), print))


def test_an_answer_is_not_taken_for_kept_when_the_lease_is_gone():
    """What follows is a post, which only the holder of the lease may make."""
    store = PatientStore(Script(StoreUnavailableError("away"), LeaseLostError("task1")), print)
    with pytest.raises(LeaseLostError):
        store.keep_answer(LEASE, "an answer")


def test_stopping_ends_the_wait():
    away = threading.Event()

    class Away:
        def finish(self, *_, **__):
            away.set()
            raise StoreUnavailableError("away")

    store = PatientStore(Away(), print)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.finish, LEASE, "SUCCESS")
        wait_for(away.is_set, what="the first try")
        store.stopping.set()
        with pytest.raises(StoreUnavailableError):
            waiting.result(60)


COMMANDS = {
    "stop": lambda s: s.stop("robot", "cid1", before=(1, 0), facts={"by": "anna"}, hold_s=60),
    "open_in": lambda s: s.open_in("robot", "cid1"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_message_in_hand_and_waits_as_others_do(name):
    result = {"stop": StopResult(()), "open_in": []}[name]
    script = Script(StoreUnavailableError("away"), result)

    assert COMMANDS[name](PatientStore(script, print)) == result

    first, second = script.calls
    assert first == second


@pytest.mark.parametrize("name", COMMANDS)
def test_who_is_not_to_wait_is_told_at_once(name):
    script = Script(StoreUnavailableError("away"))
    store = PatientStore(script, print)
    store.stopping.set()

    with pytest.raises(StoreUnavailableError):
        COMMANDS[name](store)
