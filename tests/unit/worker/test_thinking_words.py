"""What is said of an agent that takes its time: how much longer, as far as anybody can know."""

import pytest

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
