"""A card that grows: made with the first words, paced, finished, or given up for the answer."""

import threading

import pytest

from dingwire.cards import Cards, in_group
from dingwire.errors import OpenApiUnavailableError
from tests.servers import wait_for
from tests.unit.worker.thinking_parts import (
    BUSY,
    CREATE,
    QPS,
    REFUSED,
    SLOW_DOWN,
    STREAM,
    UPDATE,
    RecordingApi,
)
from worker.store import StoreUnavailableError
from worker.thinking.background import Background
from worker.thinking.card import AnswerCard, CardSettings

LIMIT_S = 60.0


class Notes:
    def __init__(self) -> None:
        self.states: list[str] = []
        self.error: Exception | None = None

    def remember(self, kind, key, facts, *, ttl_s):
        if self.error is not None:
            raise self.error
        assert (kind, key) == ("card", "task1")
        self.states.append(facts["state"])


@pytest.fixture
def api() -> RecordingApi:
    return RecordingApi()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def background():
    made = Background()
    made.start()
    yield made
    made.end(10)


@pytest.fixture
def make(api, notes, background):
    def make(every_s=0.01, *, is_ours=lambda: True, **left) -> AnswerCard:
        return AnswerCard(
            Cards(api),
            background,
            notes,
            CardSettings("t.schema", every_s=every_s),
            task_id="task1",
            message_id="msg1",
            place=in_group("robot", "cid1"),
            is_ours=is_ours,
            mark_after_s=(0.0, 0.01, 0.02),
            **left,
        )

    return make


def test_it_is_made_with_the_first_words_grows_and_is_finished(api, make):
    card = make()
    for text in ("one", " two", " three"):
        before = len(api.streamed)
        card.piece(text)
        api.until(lambda a, before=before: len(a.streamed) > before, "an update")
    assert card.finish("one two three", limit_s=LIMIT_S)

    assert api.streamed == ["one", "one two", "one two three", "one two three"]
    assert [body["isFinalize"] for body in api.to(STREAM)] == [False, False, False, True]
    assert len(api.to(CREATE)) == 1
    assert api.to(CREATE)[0]["outTrackId"] == "answer-task1"
    assert api.statuses == ["1", "2", "3"]
    assert api.paths[:3] == [CREATE, UPDATE, STREAM]


def test_it_is_noted_before_it_is_made(api, make, notes):
    api.at[CREATE] = lambda: notes.states.append("made")
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "the card")

    assert notes.states == ["open", "made"]


def test_pieces_that_come_faster_than_its_pace_are_shown_together(api, make):
    card = make(every_s=600)
    card.piece("first")
    api.until(lambda a: a.streamed == ["first"], "the first update")
    for _ in range(1000):
        card.piece(".")
    assert card.finish("first" + "." * 1000, limit_s=LIMIT_S)

    assert api.streamed == ["first", "first" + "." * 1000]


def test_blank_pieces_make_no_card(api, make):
    card = make()
    card.piece(" \n")
    wait_for(lambda: not card._is_scheduled, limit_s=60, what="the update that shows nothing")

    assert not card.may_take_the_answer
    assert api.paths == []


def test_an_answer_that_is_there_before_its_card_is_shown_in_one(api, make, background):
    """The first update has not been made yet, or never will."""
    card = make()
    card._is_scheduled = True  # as if it waited for its turn
    card.piece("all of it")
    assert card.may_take_the_answer

    assert card.finish("all of it", limit_s=LIMIT_S)

    assert api.paths == [CREATE, UPDATE, STREAM, UPDATE]
    assert api.statuses == ["1", "2", "3"]


def test_a_finish_waits_for_the_update_that_is_being_made(api, make):
    streaming, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        streaming.set()
        may_end.wait(60)

    api.at[STREAM] = hold
    card = make()
    card.piece("so far")
    assert streaming.wait(60)
    done: list[bool] = []
    finishing = threading.Thread(target=lambda: done.append(card.finish("all", limit_s=LIMIT_S)))
    finishing.start()
    assert api.streamed == ["so far"]
    may_end.set()
    finishing.join(60)

    assert done == [True]
    assert api.streamed == ["so far", "all"]


def test_a_call_that_hangs_is_not_waited_for_longer_than_there_is_time(api, make, background):
    may_end = threading.Event()
    api.at[CREATE] = lambda: may_end.wait(60)
    card = make()
    card.piece("so far")
    api.until(lambda a: a.to(CREATE), "the call")

    assert not card.finish("all", limit_s=0.05)

    card.fail()
    may_end.set()
    api.until(lambda a: a.statuses[-1] == "5", "the mark")


# What goes wrong.


@pytest.mark.parametrize("path", [CREATE, UPDATE, STREAM])
def test_a_card_that_is_refused_leaves_the_answer_to_others(api, make, path, caplog):
    api.always[path] = REFUSED
    card = make()
    card.piece("words nobody may log")
    wait_for(lambda: "without its card" in caplog.text, limit_s=60, what="the log line")

    assert not card.may_take_the_answer
    assert not card.finish("words nobody may log", limit_s=LIMIT_S)
    assert caplog.records[0].action == "card_failed"
    assert "nobody may log" not in caplog.text
    assert len(api.to(path)) == 1


@pytest.mark.parametrize("error", [BUSY, QPS], ids=["busy", "too fast"])
def test_an_update_that_fails_for_now_is_made_up_for_by_the_next(api, make, error):
    api.errors[STREAM] = [error, error]
    card = make()
    card.piece("one")
    api.until(lambda a: len(a.streamed) == 3, "the third attempt")
    card.piece(" two")
    api.until(lambda a: a.streamed[-1] == "one two", "what came meanwhile")

    assert card.may_take_the_answer


def test_updates_that_come_too_fast_become_slower(api, make):
    api.always[STREAM] = QPS
    card = make(every_s=0.02)
    card.piece("one")
    api.until(lambda a: len(a.streamed) == 2, "the second attempt")

    assert card._every_s >= 0.04


def test_a_card_that_must_wait_long_does_not_hold_the_answer_up(api, make):
    api.always[STREAM] = SLOW_DOWN
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "an update")

    assert not card.finish("one", limit_s=LIMIT_S)


def test_a_finish_that_fails_for_now_is_tried_again(api, make):
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "the card")
    api.errors[STREAM] = [BUSY]

    assert card.finish("one", limit_s=LIMIT_S)

    assert [body["isFinalize"] for body in api.to(STREAM)] == [False, True, True]


def test_a_finish_is_not_tried_again_when_the_call_could_take_too_long(api, make):
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "the card")
    api.always[STREAM] = BUSY

    assert not card.finish("one", limit_s=13.4)

    assert [body["isFinalize"] for body in api.to(STREAM)].count(True) <= 1


def test_a_finished_card_that_still_seems_to_think_is_marked_again(api, make):
    """The answer can be read, so it is not sent once more."""
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "the card")
    api.errors[UPDATE] = [BUSY, BUSY]

    assert card.finish("one", limit_s=LIMIT_S)

    api.until(lambda a: a.statuses == ["1", "2", "3", "3", "3"], "the mark")


def test_a_card_is_made_again_when_nobody_knows_whether_it_was(api, make):
    api.errors[CREATE] = [OpenApiUnavailableError("unreachable", "", ambiguous=True)]
    card = make()
    card.piece("one")
    api.until(lambda a: a.streamed, "the card")

    first, second = api.to(CREATE)
    assert first == second


def test_without_a_note_there_is_no_card(api, make, notes, caplog):
    notes.error = StoreUnavailableError("away")
    card = make()
    card.piece("one")
    wait_for(lambda: "without its card" in caplog.text, limit_s=60, what="the log line")

    assert api.paths == []
    assert not card.is_there


def test_a_failed_card_shows_what_it_had_and_that_it_failed(api, make, notes):
    card = make()
    card.piece("so far")
    api.until(lambda a: a.streamed, "the card")
    card.fail("see below")
    api.until(lambda a: a.statuses[-1] == "5", "the mark")

    assert api.streamed[-1] == "so far\n\nsee below"
    assert [body["isError"] for body in api.to(STREAM)] == [False, True]
    assert notes.states == ["open", "given_up"]


def test_a_card_that_was_never_made_is_neither_marked_nor_tried_again(api, make, notes, background):
    api.always[CREATE] = REFUSED
    card = make()
    card.piece("one")
    wait_for(lambda: notes.states == ["open", "refused"], limit_s=60, what="the note")
    card.fail("see below")
    make(left="refused").fail()
    assert background.end(60)

    assert not make(left="refused").may_take_the_answer
    assert api.paths == [CREATE]


# After a worker's death.


def test_the_card_of_a_dead_worker_is_finished_under_the_same_name(api, make):
    card = make(left="open")
    assert card.may_take_the_answer

    assert card.finish("all of it", limit_s=LIMIT_S)

    assert api.to(STREAM)[-1]["outTrackId"] == "answer-task1"
    assert api.statuses[-1] == "3"


def test_a_card_that_a_dead_worker_gave_up_takes_no_answer(make):
    card = make(left="given_up")

    assert not card.may_take_the_answer
    assert not card.finish("all", limit_s=LIMIT_S)


def test_what_a_dead_worker_showed_is_not_wiped_out_when_it_failed(api, make):
    make(left="open").fail("note")
    api.until(lambda a: a.statuses == ["5"], "the mark")

    assert api.streamed == []


def test_a_message_that_somebody_else_has_by_now_is_not_written_to(api, make):
    asked = threading.Event()

    def is_ours() -> bool:
        asked.set()
        return False

    card = make(is_ours=is_ours)
    card.piece("one")
    assert asked.wait(60)
    with card._lock:  # the update that asked is over
        assert api.paths == []
