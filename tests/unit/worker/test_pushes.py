"""Card buttons and events: run once, updated until it works, taken over from the dead."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from contract.pushes import CardAction, OrgEvent
from contract.routing import HANDLE_CARD_ACTION, HANDLE_EVENT, task_id
from contract.sealing import IN_CLEAR, Sealer
from dingwire.cards import Cards
from dingwire.errors import OpenApiRefusedError, OpenApiThrottledError, OpenApiUnavailableError
from tests.unit.worker.answering_parts import LEASE_S, START, Clock
from worker.agents.card_update import CardUpdate
from worker.bots import UnknownBotError
from worker.handlers import HandlerRunner
from worker.leases import Heartbeat
from worker.outcome import FinalState
from worker.patience import PatientStore
from worker.pushes import PushWork, pushed_in
from worker.store.sql import SqlStore

SECRET = "salary 4711"
KEY = "T3BlbiBzZXNhbWUsIG9wZW4gc2VzYW1lLCBvcGVuISE="


def action(**more: Any) -> CardAction:
    facts: dict[str, Any] = {
        "bot": "ding1", "client_id": "ding1", "push_id": "push1", "received_at": START,
        "out_track_id": "track1", "action_ids": ("ok",), "params": {"reason": SECRET},
        "user_id": "alice",
    }  # fmt: skip
    return CardAction(**facts | more)


def event(**more: Any) -> OrgEvent:
    facts: dict[str, Any] = {
        "bot": "ding1", "client_id": "ding1", "event_id": "e1", "received_at": START,
        "event_type": "user_add_org", "data": {"userId": [SECRET]},
    }  # fmt: skip
    return OrgEvent(**facts | more)


class Api:
    """DingTalk's API, as far as card updates go."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.errors: list[Exception] = []

    def call(self, method, path, body=None):
        if self.errors:
            raise self.errors.pop(0)
        assert (method, path) == ("PUT", "/v1.0/card/instances")
        self.bodies.append(dict(body))
        return {"success": True, "result": True}


class Place:
    """One store and any number of workers on it."""

    def __init__(self, folder) -> None:
        self.clock, self.api = Clock(), Api()
        self.store = SqlStore(f"sqlite:///{folder}/store.db", clock_ms=self.clock.ms)
        self.store.prepare()
        self.calls: list[Any] = []
        self.counted: list[tuple[str, str | None]] = []

    def handle(
        self, push, card=None, on_event=None, *, sealer=IN_CLEAR, api: Any = "own", wire=None
    ):
        """Have a worker take the task of a push, as it came from the broker."""
        handlers = {HANDLE_CARD_ACTION: card, HANDLE_EVENT: on_event}

        def runner_of(client_id, handler):
            if client_id != "ding1":
                raise UnknownBotError(client_id)
            return HandlerRunner(self._noted(handler)) if handler else None

        work = PushWork(
            PatientStore(self.store, print),
            runner_of=lambda task, client_id: runner_of(client_id, handlers[task]),
            cards_of=lambda push: Cards(self.api) if api == "own" else api,
            heartbeat=Heartbeat(self.store, lease_s=LEASE_S),
            clock=self.clock,
            owner="worker1",
            lease_s=LEASE_S,
            limit_s=lambda push: 60,
            sealer=sealer,
            observe=lambda task, outcome: self.counted.append((task, outcome.state)),
        )
        wire = wire or sealer.seal(push.to_wire(), push.clear_fields())
        wire = json.loads(json.dumps(wire))
        id_ = task_id(push.bot, push.identity)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work.work, type(push), id_, wire).result(60)

    def _noted(self, handler):
        def noted(push):
            self.calls.append(push)
            return handler(push)

        return noted


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.store.close()


def test_the_handler_gets_the_button_and_who_pressed_it(place):
    outcome = place.handle(action(), lambda action: None)

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "handled")
    assert place.calls == [action()]
    assert place.api.bodies == []


def test_the_handler_gets_the_event(place):
    outcome = place.handle(event(), on_event=lambda event: "whatever it returns")

    assert outcome.state is FinalState.SUCCESS
    assert place.calls == [event()]


def test_without_a_handler_it_is_a_quiet_success(place):
    for push in (event(), action()):
        outcome = place.handle(push)
        assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "no handler")
    assert place.store.story(task_id("ding1", "e1")) is None


def test_a_dict_becomes_what_everybody_sees(place):
    outcome = place.handle(action(), lambda action: {"status": "approved", "count": 2})

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "card updated")
    assert place.api.bodies == [
        {
            "outTrackId": "track1",
            "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
            "cardData": {"cardParamMap": {"status": "approved", "count": "2"}},
            "userIdType": 1,
        }
    ]


def test_private_values_go_to_who_pressed_it(place):
    update = CardUpdate(private_params={"clicked": "true"})
    place.handle(action(user_id="union1", user_id_type=2), lambda action: update)

    (body,) = place.api.bodies
    assert body["privateData"] == {"union1": {"cardParamMap": {"clicked": "true"}}}
    assert body["userIdType"] == 2
    assert "cardData" not in body


def test_a_copy_runs_nothing_twice(place):
    place.handle(action(), lambda action: {"a": "1"})
    again = place.handle(action(), lambda action: {"a": "1"})

    assert (again.state, again.duplicate) == (FinalState.SUCCESS, True)
    assert len(place.calls) == len(place.api.bodies) == 1


def test_a_copy_of_what_is_worked_on_is_dropped(place):
    def handler(event):
        assert place.handle(event, on_event=print).duplicate

    assert not place.handle(event(), on_event=handler).duplicate
    assert len(place.calls) == 1


@contextmanager
def _dying():
    """A worker that is gone without a word."""
    with pytest.raises(SystemError):
        yield


def test_a_dead_workers_push_is_due_and_taken_over(place, monkeypatch):
    id_ = task_id("ding1", "e1")
    with monkeypatch.context() as patch, _dying():
        patch.setattr(PushWork, "_handle", _die)
        place.handle(event(), on_event=print)
    assert place.handle(event(), on_event=print).duplicate  # the lease lives
    for _ in range(8):  # as the sweep asks all the time
        if due := place.store.due(limit=10, hold_s=LEASE_S):
            break
        place.clock.advance(5)
    (message,) = due
    assert (message.task_id, message.message_id) == (id_, "e1")
    pushed = pushed_in(message.envelope)
    assert pushed is not None
    assert pushed[0] is OrgEvent

    outcome = place.handle(OrgEvent.from_wire(pushed[1]), on_event=lambda event: None)
    assert outcome.state is FinalState.SUCCESS
    assert len(place.calls) == 1


def _die(*_):
    raise SystemError


def test_what_kills_its_workers_is_not_tried_for_ever(place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(PushWork, "_handle", _die)
        for _ in range(3):
            with _dying():
                place.handle(event(), on_event=print)
            for _ in range(8):  # as the sweep asks all the time
                place.store.due(limit=10, hold_s=LEASE_S)
                place.clock.advance(5)
    outcome = place.handle(event(), on_event=print)

    assert (outcome.state, outcome.detail) == (FinalState.FAILURE, "its worker died 3 times")
    assert place.calls == []


@pytest.mark.parametrize("handler", [lambda p: 1 / 0, lambda p: "no card variables"])
def test_a_handler_that_fails_is_a_failure_without_a_word_of_what_was_entered(
    place, handler, caplog
):
    outcome = place.handle(action(), handler)

    assert outcome.state is FinalState.FAILURE
    assert outcome.detail in ("ZeroDivisionError", "returned str, not a card update")
    assert {getattr(r, "action", "") for r in caplog.records} >= {"handler_failed", "push_failed"}
    assert SECRET not in str([vars(record) for record in caplog.records])
    assert place.store.missed() == []  # there is nothing to send after all
    story = place.store.story("push1")
    assert (story.state, story.outcome) == ("done", "FAILURE")
    assert SECRET not in str(story)


def test_a_card_that_cannot_be_updated_now_is_updated_later_by_what_was_kept(place):
    place.api.errors = [
        OpenApiUnavailableError("http 500", "busy"),
        OpenApiThrottledError("Forbidden.QpsLimit", "too fast", 40),
    ]
    first = place.handle(action(), lambda action: {"a": SECRET})
    assert (first.state, first.facts["attempts"]) == (None, 1)
    assert first.retry_in_s < 2
    place.clock.advance(2)
    second = place.handle(action(), lambda action: {"a": "other"})
    assert second.retry_in_s == 40
    assert place.handle(action(), print).duplicate  # its time has not come
    place.clock.advance(40)
    last = place.handle(action(), lambda action: {"a": "other"})

    assert (last.state, last.facts["outcome"]) == (FinalState.SUCCESS, "card updated")
    assert len(place.calls) == 1
    assert [body["cardData"]["cardParamMap"] for body in place.api.bodies] == [{"a": SECRET}]


@pytest.mark.parametrize(
    ("kept", "state"),
    [
        ('{"params": {"a": "1"}, "of_a_later_release": 1}', FinalState.SUCCESS),
        (f'{{"params": "{SECRET}"}}', FinalState.FAILURE),
    ],
)
def test_what_a_later_release_kept_is_read_or_the_end(place, tmp_path, kept, state):
    """Never taken by one worker after the other."""
    place.api.errors = [OpenApiUnavailableError("http 500", "busy")]
    place.handle(action(), lambda action: {"a": "1"})
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE dingtalk_messages SET answer = ?", (json.dumps(kept),))
    place.clock.advance(2)

    outcome = place.handle(action(), print)

    assert outcome.state is state
    assert SECRET not in outcome.detail
    assert len(place.calls) == 1


def test_a_card_that_dingtalk_refuses_to_update_is_a_failure(place):
    place.api.errors = [OpenApiRefusedError("param.cardNotExist", "no such card")]
    outcome = place.handle(action(), lambda action: {"a": "1"})

    assert outcome.state is FinalState.FAILURE
    assert "param.cardNotExist" in outcome.detail


def test_a_card_is_not_tried_to_be_updated_for_ever(place):
    place.api.errors = [OpenApiUnavailableError("http 500", "busy") for _ in range(20)]
    outcome = place.handle(action(), lambda action: {"a": "1"})
    while outcome.state is None:
        place.clock.advance(outcome.retry_in_s + 1)
        outcome = place.handle(action(), print)

    assert outcome.state is FinalState.FAILURE
    assert len(place.api.errors) == 11


def test_without_credentials_a_card_cannot_be_updated(place):
    outcome = place.handle(action(), lambda action: {"a": "1"}, api=None)
    assert outcome.state is FinalState.FAILURE
    assert "DINGTALK_CLIENT_SECRET" in outcome.detail


def test_what_is_sealed_is_opened_for_the_handler_and_kept_sealed(place):
    sealer = Sealer.from_setting(KEY)
    place.api.errors = [OpenApiUnavailableError("http 500", "busy")]
    place.handle(action(), lambda action: {"a": SECRET}, sealer=sealer)

    assert place.calls == [action()]
    (kept,) = place.store.unfinished()
    assert SECRET not in str(kept.envelope)


def test_what_is_sealed_with_another_key_is_left_to_others_for_a_while(place):
    sealed = Sealer.from_setting(KEY).seal(event().to_wire(), OrgEvent.clear_fields())
    outcome = place.handle(event(), on_event=print, wire=sealed)
    tries = 1
    while outcome.state is None:
        place.clock.advance(outcome.retry_in_s + 0.1)
        outcome = place.handle(event(), on_event=print, wire=sealed)
        tries += 1

    assert outcome.state is FinalState.FAILURE
    assert 10 < tries < 100
    assert place.calls == []


def test_what_came_to_another_bot_is_left_to_others_for_a_while(place):
    other = event(client_id="ding2")
    outcome, tries = place.handle(other, on_event=print), 1
    assert outcome.retry_in_s is not None
    while outcome.state is None:
        place.clock.advance(outcome.retry_in_s + 0.1)
        outcome, tries = place.handle(other, on_event=print), tries + 1

    assert (outcome.state, outcome.detail) == (
        FinalState.FAILURE, "no bot ding2 in this worker's settings",
    )  # fmt: skip
    assert 10 < tries < 100
    assert place.calls == []


def test_what_is_no_push_is_a_failure_that_names_the_fields(place):
    outcome = place.handle(event(version=99), on_event=print)
    assert outcome.state is FinalState.FAILURE
    assert "version 99" in outcome.detail


def test_no_earlier_release_takes_a_kept_push_for_a_message(place):
    from contract.envelope import Envelope, EnvelopeError

    place.api.errors = [OpenApiUnavailableError("http 500", "busy")]
    place.handle(action(), lambda action: {"a": "1"})
    (kept,) = place.store.unfinished()
    with pytest.raises(EnvelopeError):
        Envelope.from_wire(kept.envelope)


def test_pushes_do_not_count_for_the_pace_of_messages(place):
    place.handle(event(), on_event=lambda event: None)
    assert place.store.pace(over_s=60).finished == 0
