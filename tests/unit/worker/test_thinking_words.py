"""What is said of an agent that takes its time: how much longer, as far as anybody can know."""

import pytest

from tests.servers import wait_for
from worker.thinking.background import Background
from worker.thinking.still_working import StillWorking, how_long


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0.2, "5 秒", "5 s"),
        (5, "5 秒", "5 s"),
        (5.1, "10 秒", "10 s"),
        (55, "55 秒", "55 s"),
        (56, "1 分钟", "1 min"),
        (61, "2 分钟", "2 min"),
        (600, "10 分钟", "10 min"),
    ],
)
def test_a_duration_is_rounded_up_to_what_people_say(seconds, zh, en):
    assert how_long(seconds).in_("zh") == zh
    assert how_long(seconds).in_("en") == en


@pytest.mark.parametrize(
    ("taken_s", "usual_s", "left_s", "said"),
    [
        (30, 50, 270, "Still working on it, about 20 s more"),
        (30, None, 270, "Still working on it, 5 min more at most"),
        (60, 50, 240, "Still working on it, 4 min more at most"),
        (30, 400, 20, "Still working on it, 20 s more at most"),
        (30, None, 5000, "Still working on it"),
    ],
    ids=["as usual", "not known", "longer than usual", "not so much left", "any time"],
)
def test_it_is_said_how_much_longer(taken_s, usual_s, left_s, said):
    words = StillWorking(
        Background(),
        say=lambda _: None,
        at_once=False,
        first_s=30,
        limit_s=300,
        spare_s=lambda: None,
        usual_s=lambda: usual_s,
        may_speak=lambda: True,
        language="en",
    )

    assert words._words(taken_s, left_s) == said


@pytest.fixture
def said():
    return list[str]()


def still_working(said, **more):
    background = Background()
    background.start()
    options = {"at_once": False, "first_s": None, "limit_s": 300, "near_s": 15} | more
    return StillWorking(
        background,
        say=said.append,
        spare_s=lambda: None,
        usual_s=lambda: None,
        may_speak=lambda: True,
        language="en",
        **options,
    )


def test_what_the_agent_does_is_said_in_place_of_that_it_still_works(said):
    words = still_working(said, first_s=0.05)
    words.progress("reading the report")
    words.start()
    wait_for(lambda: len(said) >= 2, what="two words")
    words.stop()
    assert said[0] == "reading the report"
    assert said[1].startswith("Still working")


def test_where_no_times_are_set_it_is_said_at_once_and_then_seldom(said):
    words = still_working(said, at_once=True)
    words.start()
    wait_for(lambda: said == ["Got it, thinking…"], what="the first word")
    words.progress("reading the report")
    wait_for(lambda: said[1:] == ["reading the report"], what="the progress")
    words.progress("reading on")
    words.progress("nearly there")
    words.stop()
    assert said[2:] == []


def test_without_words_the_agents_are_not_said(said):
    words = still_working(said)
    words.start()
    words.progress("reading the report")
    words.stop()
    assert said == []


def test_near_the_end_nothing_is_said(said):
    words = still_working(said, at_once=True, limit_s=10)
    words.progress("reading the report")
    words._say_progress()
    assert said == []
