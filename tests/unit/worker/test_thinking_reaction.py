"""The reaction on a message: added, taken off, and never in anybody's way."""

import threading

import pytest

from dingwire.emotions import Emotions
from dingwire.errors import OpenApiUnavailableError
from tests.servers import wait_for
from tests.unit.worker.thinking_parts import ADD, BUSY, RECALL, REFUSED, RecordingApi
from worker.thinking.background import Background
from worker.thinking.reaction import Reaction, Target

TARGET = Target("robot", "cid1", "msg1")
DELAYS = (0.0, 0.01, 0.02)


@pytest.fixture
def api() -> RecordingApi:
    return RecordingApi()


@pytest.fixture
def background():
    made = Background()
    made.start()
    yield made
    made.end(10)


@pytest.fixture
def reaction(api, background) -> Reaction:
    return reaction_of(api, background)


def reaction_of(api, background, *, may_be_there=False) -> Reaction:
    return Reaction(
        Emotions(api),
        background,
        TARGET,
        may_be_there=may_be_there,
        add_after_s=DELAYS,
        recall_after_s=DELAYS,
    )


def test_it_is_added_and_taken_off(api, reaction):
    reaction.add()
    api.until(lambda a: a.to(ADD), "the reaction")
    reaction.recall()
    api.until(lambda a: a.to(RECALL), "its end")

    assert api.to(ADD) == api.to(RECALL)
    assert api.to(ADD)[0]["openMsgId"] == "msg1"


def test_a_message_that_dingtalk_does_not_know_yet_is_tried_again(api, reaction):
    api.errors[ADD] = [BUSY, BUSY]
    reaction.add()
    api.until(lambda a: len(a.to(ADD)) == 3, "the third attempt")
    reaction.recall()
    api.until(lambda a: a.to(RECALL), "its end")


def test_an_end_is_tried_again_too(api, reaction):
    api.errors[RECALL] = [BUSY, BUSY]
    reaction.add()
    api.until(lambda a: a.to(ADD), "the reaction")
    reaction.recall()
    api.until(lambda a: len(a.to(RECALL)) == 3, "the third attempt")


def test_what_dingtalk_refuses_is_said_once_and_left(api, reaction, background, caplog):
    caplog.set_level("INFO")
    api.always[ADD] = REFUSED
    reaction.add()
    wait_for(lambda: "cannot add a reaction" in caplog.text, limit_s=60, what="the log line")
    reaction.recall()
    assert background.end(60)

    assert api.paths == [ADD]
    assert [record.action for record in caplog.records] == ["reaction_failed"]


def test_one_that_may_have_been_added_is_taken_off(api, reaction, background):
    api.always[ADD] = OpenApiUnavailableError("unreachable", "", ambiguous=True)
    reaction.add()
    api.until(lambda a: len(a.to(ADD)) == 3, "the attempts")
    reaction.recall()
    assert background.end(60)

    assert RECALL in api.paths


def test_an_answer_that_is_out_first_ends_the_attempts_and_then_the_reaction(api, reaction):
    """The recall never overtakes the call that adds it."""
    adding, may_end = threading.Event(), threading.Event()

    def adds() -> None:
        adding.set()
        may_end.wait(60)

    api.at[ADD] = adds
    reaction.add()
    assert adding.wait(60)
    reaction.recall()
    assert api.paths == [ADD]
    may_end.set()
    api.until(lambda a: a.to(RECALL), "the recall")

    assert api.paths == [ADD, RECALL]


def test_nothing_is_taken_off_that_was_never_there(api, reaction, background):
    reaction.recall()
    assert background.end(60)

    assert api.paths == []


def test_it_is_taken_off_once(api, reaction, background):
    reaction.add()
    api.until(lambda a: a.to(ADD), "the reaction")
    wait_for(lambda: not reaction._is_being_added, limit_s=60, what="the end of the call")
    reaction.recall()
    reaction.recall()
    assert background.end(60)

    assert api.paths == [ADD, RECALL]


def test_what_a_dead_worker_may_have_added_is_taken_off(api, background):
    reaction_of(api, background, may_be_there=True).recall()

    api.until(lambda a: a.to(RECALL), "the recall")
