"""What every worker tells of all processes, also while broker or store do not answer."""

import threading
import time

import pytest

from tests.unit.worker.answering_parts import envelope
from tests.unit.worker.fleet_parts import QUEUES, Scrape, listener, told
from worker.running.queues import Queue
from worker.sending.budget import ApiBudget
from worker.settings import WorkerSettings
from worker.store import Claimed, Note, Pace, Reason
from worker.store.sql import SqlStore
from worker.telling.backlog import Known
from worker.telling.fleet_metrics import Told, read_store
from worker.wiring import clock


def test_everything_that_is_known_is_told():
    values = Scrape(store=lambda: told(listener("one"), listener("two", age_s=9.0)))()

    assert values["worker_in_flight",] == 3
    assert values["worker_slots",] == 4
    assert values["fleet_queue_messages", "messages"] == 7
    assert values["fleet_queue_messages", "replies"] == 2
    assert values["fleet_missed_open", "agent_failed"] == 2
    assert values["fleet_missed_open", "throttled"] == 0
    assert values["fleet_unfinished", "parked"] == 1
    assert values["fleet_workers",] == 1
    assert values["fleet_slots",] == 4
    assert values["fleet_backlog_messages",] == 10
    assert values["fleet_backlog_oldest_age_seconds",] == 30
    assert values["fleet_backlog_smallest_spare_seconds",] == 600
    assert values["fleet_backlog_work_seconds",] == 50
    assert values["fleet_backlog_workers_needed",] == 1
    assert values["fleet_scrape_error", "broker"] == values["fleet_scrape_error", "store"] == 0


def test_missed_replies_are_counted_without_reading_what_was_written(tmp_path, monkeypatch):
    """A scrape every few seconds, and each of a thousand may be as long as a message is."""
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    for number in range(3):
        claim = store.claim(f"task{number}", owner="me", lease_s=60, envelope=envelope().to_wire())
        assert isinstance(claim, Claimed)
        reason = Reason.NO_ROUTE if number else Reason.THROTTLED
        store.miss(claim.lease, state="FLAGGED", reason=reason, errcode=None, detail="")
    monkeypatch.setattr(SqlStore, "missed", None)

    assert read_store(store, WorkerSettings(), clock()).missed == {"no_route": 2, "throttled": 1}
    store.close()


def test_the_calls_left_of_a_budget_are_told_by_bot(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    ApiBudget(store, client_id="ding1", calls=9, clock=clock).spend()
    settings = WorkerSettings(client_id="ding1", api_budget=5)

    assert read_store(store, settings, clock()).calls_left == {"ding1": 4}
    assert Scrape()()["fleet_api_calls_left", "ding1"] == 4
    store.close()


def test_listeners_are_told_with_the_youngest_frame_of_any():
    """The age a listener reported has grown since."""
    values = Scrape(
        store=lambda: told(
            listener("one", last_frame_age_s=2.0, age_s=9.0),
            listener("two", last_frame_age_s=4.0, age_s=1.0, connections_up=2),
            listener("gone", stopped=True),
        )
    )()

    assert values["fleet_listeners",] == 2
    assert values["fleet_connections",] == 3
    assert values["fleet_last_frame_age_seconds",] == 5


def test_without_a_frame_there_is_no_age():
    values = Scrape(store=lambda: told(listener("one", last_frame_age_s=None)))()

    assert values["fleet_listeners",] == 1
    assert ("fleet_last_frame_age_seconds",) not in values


@pytest.mark.parametrize(("in_flight", "is_told"), [(4, False), (3, True)])
def test_listeners_whose_reports_wait_behind_agents_are_not_told_to_be_none(in_flight, is_told):
    """An alert pages when there are none."""
    workers = [Note("celery@one", {"concurrency": 4, "in_flight": in_flight}, 1.0)]
    known = Known([], Pace(0, 0.0, 3600.0), workers)
    values = Scrape(store=lambda: Told(known, {}, []))()

    assert (("fleet_listeners",) in values) is is_told
    assert (("fleet_connections",) in values) is is_told
    assert values["fleet_workers",] == 1


def fails() -> Told:
    raise ConnectionError("redis://:secret@away")


def test_a_store_that_is_away_is_left_out_and_said_to_be():
    values = Scrape(store=fails)()

    assert values["fleet_scrape_error", "store"] == 1
    assert values["fleet_scrape_error", "broker"] == 0
    assert values["fleet_queue_messages", "messages"] == 7
    assert not [name for name in values if name[0].startswith("fleet_missed")]
    assert not [name for name in values if name[0].startswith("fleet_backlog")]


def test_a_broker_and_a_store_that_hang_do_not_hold_a_scrape():
    released = threading.Event()
    asked: list[int] = []

    def hangs():
        asked.append(1)
        released.wait(30)
        return QUEUES

    scrape = Scrape(queues=hangs, store=hangs, limit_s=0.2)
    started = time.monotonic()
    first, second = scrape(), scrape()
    took_s = time.monotonic() - started
    released.set()

    assert took_s < 15
    assert first["fleet_scrape_error", "broker"] == first["fleet_scrape_error", "store"] == 1
    assert second["worker_in_flight",] == 3
    assert len(asked) == 2, "a question that is open is not put again"


def test_an_answer_that_came_too_late_is_not_shown_the_next_time():
    """Else a scrape would show what was minutes ago."""
    gate, depths = threading.Event(), iter([1, 2])

    def slow():
        depth = next(depths)
        gate.wait(30)
        return QUEUES | {"messages": Queue(depth, ())}

    scrape = Scrape(queues=slow, limit_s=0.2)
    assert scrape()["fleet_scrape_error", "broker"] == 1
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "scrape":
            thread.join(60)

    assert scrape()["fleet_queue_messages", "messages"] == 2


@pytest.mark.parametrize("pace", [Pace(0, 0.0, 3600.0)])
def test_what_cannot_be_reckoned_is_left_out(pace):
    known = Known([], pace, [])
    values = Scrape(store=lambda: Told(known, {}, []))()

    assert values["fleet_backlog_messages",] == 10
    assert ("fleet_backlog_workers_needed",) not in values
    assert ("fleet_backlog_work_seconds",) not in values
