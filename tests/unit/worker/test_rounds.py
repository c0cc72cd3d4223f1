"""The small duties of a worker's main process: they never hurt it, and say so once."""

import logging
import threading

from worker.running.rounds import Rounds
from worker.store import StoreUnavailableError


def test_a_duty_that_fails_keeps_no_other_from_being_done_and_is_said_once(caplog):
    done: list[str] = []
    away = [True]

    def greet_the_store() -> None:
        if away[0]:
            raise StoreUnavailableError("cannot reach the store")
        done.append("greeted")

    rounds = Rounds([greet_the_store, lambda: done.append("other")], every_s=60)
    with caplog.at_level(logging.WARNING):
        for is_away in (True, True, False, True):
            away[0] = is_away
            rounds.make()

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "once an outage"
    assert said[0].startswith("cannot greet the store, trying again until it works")
    assert done.count("other") == 4
    assert done.count("greeted") == 1


def test_the_text_of_an_unknown_error_is_not_logged(caplog):
    def post() -> None:
        raise ValueError("https://oapi.dingtalk.com/robot/send?access_token=secret")

    Rounds([post], every_s=60).make()

    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_at_the_end_something_is_done_once_and_nothing_after_it():
    done: list[str] = []
    began = threading.Event()

    def duty() -> None:
        done.append("duty")
        began.set()

    rounds = Rounds([duty], every_s=0.01, at_end=lambda: done.append("end"))
    rounds.start()
    assert began.wait(60)
    rounds.stop()

    assert done[-1] == "end"
    assert done.count("end") == 1


def test_a_duty_that_hangs_does_not_hold_the_end():
    released, began = threading.Event(), threading.Event()

    def hangs() -> None:
        began.set()
        released.wait(30)

    rounds = Rounds([hangs], every_s=0.01, end_limit_s=0.05)
    rounds.start()
    assert began.wait(60)
    rounds.stop()

    assert not released.is_set()
    released.set()
