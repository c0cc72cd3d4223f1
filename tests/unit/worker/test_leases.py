"""Who works on a message keeps it, for as long as the process lives."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_for
from worker.leases import Heartbeat
from worker.store import Claimed, Held, Lease, LeaseLostError, StoreUnavailableError
from worker.store.sql import SqlStore

ENVELOPE = {"bot": "robot1", "message_id": "msg1"}


@pytest.fixture
def store(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def another_process(store, tmp_path):
    other = SqlStore(f"sqlite:///{tmp_path}/store.db")
    yield other
    other.close()


def claim(store, task="task1", *, owner="me", lease_s=1.0) -> Lease:
    claimed = store.claim(task, owner=owner, lease_s=lease_s, envelope=ENVELOPE)
    assert isinstance(claimed, Claimed)
    return claimed.lease


class Watched:
    """Counts renewals on their way to the store, and fails those it is told to."""

    def __init__(self, store):
        self._store = store
        self.renewed: list[list[Lease]] = []
        self.answered = 0
        self.fail_next: list[Exception] = []

    def wait_for_beats(self, count):
        wait_for(lambda: len(self.renewed) >= count, what=f"{count} heartbeats")

    def __getattr__(self, name):
        return getattr(self._store, name)

    def renew(self, leases, *, lease_s):
        self.renewed.append(list(leases))
        if self.fail_next:
            raise self.fail_next.pop(0)
        lost = self._store.renew(leases, lease_s=lease_s)
        self.answered += 1
        return lost


def test_a_held_lease_outlives_its_length_many_times(store, another_process):
    watched = Watched(store)
    heartbeat = Heartbeat(watched, lease_s=1)
    lease = claim(store)

    with heartbeat.holding(lease):
        # Three renewals a lease: after seven, more than two leases have passed.
        for beats in range(1, 8):
            watched.wait_for_beats(beats)
            assert isinstance(
                another_process.claim("task1", owner="b", lease_s=1, envelope=None), Held
            )
    store.finish(lease, "SUCCESS")
    heartbeat.release_all()


def test_a_lease_that_is_held_no_more_runs_out(store, another_process):
    heartbeat = Heartbeat(store, lease_s=0.3)
    with heartbeat.holding(claim(store, lease_s=0.3)):
        pass

    def is_free():
        claimed = another_process.claim("task1", owner="b", lease_s=60, envelope=None)
        return isinstance(claimed, Claimed)

    wait_for(is_free, what="the lease to run out")
    heartbeat.release_all()


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("away"), RuntimeError("SECRET")], ids=["known", "unknown"]
)
def test_the_heart_beats_on_after_a_failure(store, caplog, error):
    watched = Watched(store)
    watched.fail_next = [error]
    heartbeat = Heartbeat(watched, lease_s=0.3)

    with heartbeat.holding(claim(store)):
        watched.wait_for_beats(3)

    assert "cannot renew 1 leases" in caplog.text
    assert "SECRET" not in caplog.text
    heartbeat.release_all()


def test_a_lost_lease_is_told_once_and_renewed_no_more(store, another_process, caplog):
    caplog.set_level(logging.WARNING)
    watched = Watched(store)
    heartbeat = Heartbeat(watched, lease_s=0.3)
    lost, kept = claim(store, "lost"), claim(store, "kept")
    store.release(lost, due_in_s=0)
    claim(another_process, "lost", owner="b", lease_s=60)

    with heartbeat.holding(lost), heartbeat.holding(kept):
        wait_for(lambda: [kept] in watched.renewed, what="a beat without the lost one")

    assert [getattr(r, "action", "") for r in caplog.records] == ["lease_lost"]
    heartbeat.release_all()


def test_a_message_that_comes_back_to_us_stays_ours_when_its_first_thread_ends(store):
    """Both claims are of one task; the end of the lost one must not end the living one."""
    watched = Watched(store)
    heartbeat = Heartbeat(watched, lease_s=0.3)
    first = claim(store, lease_s=60)
    store.release(first, due_in_s=0)
    second = claim(store, lease_s=60)

    with heartbeat.holding(second):
        with heartbeat.holding(first):
            pass
        seen = len(watched.renewed)
        wait_for(lambda: [second] in watched.renewed[seen:], what="the second's renewal")
    heartbeat.release_all()


def test_what_is_unfinished_at_the_end_is_anybodys_at_once(store, another_process):
    heartbeat = Heartbeat(store, lease_s=60)
    lease = claim(store, lease_s=60)

    with heartbeat.holding(lease):
        assert heartbeat.release_all() == 1

        (due,) = another_process.due(limit=10, hold_s=60)
        assert due.task_id == "task1"
        taken = another_process.claim("task1", owner="b", lease_s=60, envelope=None)
        assert isinstance(taken, Claimed)
        assert taken.takeovers == 0
        with pytest.raises(LeaseLostError):
            store.keep_answer(lease, "too late")


def test_after_the_end_nothing_is_held(store):
    heartbeat = Heartbeat(store, lease_s=60)
    heartbeat.release_all()

    with pytest.raises(LeaseLostError), heartbeat.holding(claim(store, lease_s=60)):
        pytest.fail("worked on a message after the end")

    assert len(store.due(limit=10, hold_s=60)) == 1


def test_giving_back_goes_on_past_what_cannot_be_given_back(store):
    heartbeat = Heartbeat(store, lease_s=60)
    gone, ours = claim(store, "gone"), claim(store, "ours")
    store.finish(gone, "SUCCESS")

    with heartbeat.holding(gone), heartbeat.holding(ours):
        assert heartbeat.release_all() == 1


def test_a_message_whose_reply_is_on_its_way_is_not_given_back(store, another_process):
    """And the lease outlives the post, however short it is."""
    heartbeat = Heartbeat(store, lease_s=2)
    lease = claim(store, lease_s=2)
    with ThreadPoolExecutor(1) as pool:
        with heartbeat.holding(lease), heartbeat.sending(lease):
            ending = pool.submit(heartbeat.release_all)
            with pytest.raises(TimeoutError):
                ending.result(2.5)
            assert another_process.due(limit=10, hold_s=0) == []
            store.finish(lease, "SUCCESS")

        assert ending.result(60) == 0


def test_the_end_waits_for_a_post_no_longer_than_it_can_take(store, monkeypatch, caplog):
    monkeypatch.setattr("worker.leases._LAST_POSTS_S", 0.1)
    heartbeat = Heartbeat(store, lease_s=60)
    lease = claim(store, lease_s=60)

    with heartbeat.holding(lease), heartbeat.sending(lease):
        heartbeat.release_all()

    assert "ending with 1 posts unanswered" in caplog.text


def test_no_post_begins_after_the_end_and_the_message_goes_back(store):
    """Also one that would follow another, as a rescue follows a webhook that is dead."""
    heartbeat = Heartbeat(store, lease_s=60)
    lease = claim(store, lease_s=60)
    with ThreadPoolExecutor(1) as pool, heartbeat.holding(lease):
        with heartbeat.sending(lease):
            ending = pool.submit(heartbeat.release_all)
            wait_for(lambda: heartbeat._is_ending, what="the end to begin")
            with pytest.raises(LeaseLostError), heartbeat.sending(lease):
                pytest.fail("posted after the end")
        ending.result(60)

    assert len(store.due(limit=10, hold_s=60)) == 1


def test_a_message_that_another_worker_has_is_not_sent(store, another_process):
    heartbeat = Heartbeat(store, lease_s=0.3)
    lost = claim(store)
    store.release(lost, due_in_s=0)
    theirs = claim(another_process, owner="b", lease_s=60)

    with heartbeat.holding(lost):
        wait_for(lambda: lost not in heartbeat._held, what="the loss to be noticed")
        with pytest.raises(LeaseLostError), heartbeat.sending(lost):
            pytest.fail("sent what another worker has")

    another_process.finish(theirs, "SUCCESS")
    heartbeat.release_all()


# What was stopped.


@pytest.fixture
def looks_often(monkeypatch):
    monkeypatch.setattr("worker.leases._LOOK_EVERY_S", 0.02)


def stop(store) -> None:
    store.stop("robot1", "cid1", before=(2, 0), facts={"by": "anna"}, hold_s=60)


def claim_in_conversation(store, task="task1") -> Lease:
    envelope = ENVELOPE | {"conversation_id": "cid1"}
    claimed = store.claim(task, owner="me", lease_s=300, envelope=envelope, written=(1, 0))
    assert isinstance(claimed, Claimed)
    return claimed.lease


def test_who_holds_a_message_that_is_stopped_hears_of_it_long_before_the_next_beat(
    store, another_process, looks_often
):
    heartbeat = Heartbeat(store, lease_s=300)
    lease, heard = claim_in_conversation(store), threading.Event()

    with heartbeat.holding(lease), heartbeat.when_lost(lease, heard.set):
        wait_for(lambda: heartbeat._last_stop is not None, what="the first look")
        assert not heard.is_set()
        stop(another_process)
        assert heard.wait(120)
        assert not heartbeat.holds(lease)
    heartbeat.release_all()


def test_one_that_was_lost_before_it_was_watched_is_told_at_once(store, looks_often):
    heartbeat = Heartbeat(store, lease_s=300)
    lease, heard = claim_in_conversation(store), []

    with heartbeat.holding(lease):
        stop(store)
        wait_for(lambda: not heartbeat.holds(lease), what="the loss to be noticed")
        with heartbeat.when_lost(lease, lambda: heard.append("lost")):
            assert heard == ["lost"]
    heartbeat.release_all()


def test_others_hear_nothing_of_what_is_stopped_elsewhere(store, another_process, looks_often):
    watched = Watched(store)
    heartbeat = Heartbeat(watched, lease_s=300)
    claim_in_conversation(store)
    other, heard = claim(store, "other", lease_s=300), []

    with heartbeat.holding(other), heartbeat.when_lost(other, lambda: heard.append("lost")):
        watched.wait_for_beats(1)
        stop(another_process)
        watched.wait_for_beats(2)
        assert heartbeat.confirms(other)
    assert heard == []
    heartbeat.release_all()


def test_a_stop_that_could_not_be_learnt_of_is_learnt_of_at_the_next_look(
    store, another_process, looks_often
):
    watched = Watched(store)
    heartbeat = Heartbeat(watched, lease_s=300)
    lease, heard = claim_in_conversation(store), threading.Event()

    with heartbeat.holding(lease), heartbeat.when_lost(lease, heard.set):
        # The first look, which knows of no stop before, is over.
        wait_for(lambda: watched.answered == 1, what="the first look")
        watched.fail_next = [StoreUnavailableError("away")]
        stop(another_process)
        assert heard.wait(120)
    assert watched.fail_next == []
    heartbeat.release_all()


class Looked:
    """Counts looks on their way to the store, and fails them if it is told to."""

    def __init__(self, store, error=None):
        self._store, self._error = store, error
        self.looks = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def last_stop(self):
        self.looks += 1
        if self._error is not None:
            raise self._error
        return self._store.last_stop()


def test_while_nothing_is_held_the_store_is_left_alone(store, looks_often):
    looked = Looked(store)
    heartbeat = Heartbeat(looked, lease_s=300)
    lease = claim_in_conversation(store)
    with heartbeat.holding(lease):
        wait_for(lambda: looked.looks >= 1, what="a look")

    class Ticks(threading.Event):
        count = 0

        def wait(self, timeout=None):
            self.count += 1
            return super().wait(timeout)

    ticks = heartbeat._ended = Ticks()
    wait_for(lambda: ticks.count >= 2, what="the last look to be over")
    looks = looked.looks
    wait_for(lambda: ticks.count >= 6, what="some time to pass")

    assert looked.looks == looks
    heartbeat.release_all()


def test_a_store_that_is_away_is_no_stop_and_the_heart_beats_on(store, looks_often, caplog):
    looked = Looked(Watched(store), StoreUnavailableError("away"))
    heartbeat = Heartbeat(looked, lease_s=0.3)

    with heartbeat.holding(claim(store)):
        wait_for(lambda: looked.looks >= 3, what="some looks")
        looked._store.wait_for_beats(2)

    assert caplog.records == []
    heartbeat.release_all()


def test_whether_a_message_is_ours_can_be_asked_of_the_store(store, another_process):
    heartbeat = Heartbeat(store, lease_s=300)
    lease = claim_in_conversation(store)

    with heartbeat.holding(lease):
        assert heartbeat.confirms(lease)
        stop(another_process)
        assert heartbeat.holds(lease), "nobody has told us"
        assert not heartbeat.confirms(lease)
        assert not heartbeat.holds(lease)
    heartbeat.release_all()
