"""The judge of ``make chaos`` must find what is wrong; see tests/chaos/judging.py."""

from dataclasses import replace

import pytest

from tests.chaos.judging import Allowed, Answer, History, Sent, judge

ONE, TWO, THREE = (Sent(f"m{n}", f"id{n}", "here") for n in (1, 2, 3))
ELSEWHERE = Sent("m4", "id4", "there")


def answer(*sent: Sent, at_s: float = 1.0) -> Answer:
    return Answer(tuple(s.token for s in sent), sent[0].conversation_id, at_s)


def history(*answers: Answer, **more: object) -> History:
    sent = (ONE, TWO, THREE, ELSEWHERE)
    acked = {s.message_id for s in sent}
    return replace(History(sent, answers, acked), **more)  # type: ignore[arg-type]


GOOD = (answer(ONE), answer(ELSEWHERE), answer(TWO), answer(THREE))


def test_a_good_day_is_good():
    found = judge(history(*GOOD), Allowed())

    assert found.is_good
    assert (found.sent, found.answered_once) == (4, 4)


def test_an_acknowledged_message_without_an_answer_is_lost():
    found = judge(history(*GOOD[:-1]), Allowed())

    assert (found.lost, found.answered_once) == (1, 3)
    assert found.broken == ("1 lost",)
    assert found.suspects == (THREE,)


def test_a_message_that_never_reached_the_listener_is_not_ours_to_lose():
    unheard = history(*GOOD[:-1], acked={"id1", "id2", "id4"})

    found = judge(unheard, Allowed(never_acked=None))
    assert (found.lost, found.never_acked, found.is_good) == (0, 1, True)
    assert judge(unheard, Allowed()).broken == ("1 never acked",), "where no gap is promised"


def test_an_answer_to_what_was_never_acknowledged_counts_as_one():
    found = judge(history(*GOOD, acked=set()), Allowed())

    assert (found.never_acked, found.answered_once) == (0, 4)


def test_a_missed_reply_that_is_shown_is_not_lost():
    shown = history(*GOOD[:-1], missed={"id3"})

    found = judge(shown, Allowed(missed=1))
    assert (found.lost, found.missed, found.is_good) == (0, 1, True)
    assert judge(shown, Allowed()).broken == ("1 missed",), "where no reply should be missed"


def test_every_copy_beyond_the_first_is_a_double():
    found = judge(history(*GOOD, answer(TWO), answer(TWO)), Allowed())

    assert (found.doubled, found.answered_once) == (2, 3)
    assert found.broken == ("2 doubled",)
    assert judge(history(*GOOD, answer(TWO)), Allowed(doubled=1)).is_good
    assert judge(history(*GOOD, answer(TWO), answer(TWO)), Allowed(doubled=1)).broken == (
        "2 doubled, 1 allowed",
    )


def test_an_answer_before_that_of_an_earlier_message_is_out_of_order():
    found = judge(history(answer(THREE), answer(ONE), answer(TWO), answer(ELSEWHERE)), Allowed())

    assert found.out_of_order == 2
    assert found.suspects == (ONE, TWO)
    assert found.broken == ("2 out of order",)


def test_order_counts_first_answers_of_one_conversation_only():
    """A second copy of an early answer comes late by nature, and is counted as what it is."""
    found = judge(history(answer(ELSEWHERE), *GOOD[:1], *GOOD[2:], answer(ONE)), Allowed(doubled=2))

    assert found.out_of_order == 0


def test_an_answer_handed_over_late_is_answered_and_not_out_of_order():
    handed_over = history(
        answer(TWO), answer(ONE), answer(THREE), answer(ELSEWHERE), missed={"id1"}
    )

    found = judge(handed_over, Allowed())

    assert (found.out_of_order, found.missed, found.answered_once) == (0, 0, 4)


@pytest.mark.parametrize("wrong", [Answer(("m4",), "here", 1.0), Answer((), "here", 1.0)])
def test_an_answer_in_the_wrong_chat_or_to_nothing_is_found(wrong):
    found = judge(history(*GOOD[:1], *GOOD[2:], wrong), Allowed())

    assert found.astray == 1
    assert "1 answered elsewhere" in found.broken
    assert found.lost == 1, "nor is it an answer to the one it names"


def test_one_reply_may_answer_several_messages():
    found = judge(history(answer(ONE, TWO, THREE), answer(ELSEWHERE)), Allowed())

    assert (found.is_good, found.answered_once) == (True, 4)


def test_recovery_is_counted_from_the_end_of_the_fault_to_the_last_answer_it_delayed():
    delayed = history(
        answer(ONE, at_s=9), answer(TWO, at_s=12.5), answer(THREE, at_s=14), answer(ELSEWHERE),
        ended_s=10, before_end={"m1", "m2", "m4"},
    )  # fmt: skip

    assert judge(delayed, Allowed()).recovery_s == 2.5
    assert judge(delayed, Allowed(recovery_s=2)).broken == ("2.5 s to recover, 2 allowed",)
    assert judge(replace(delayed, before_end={"m1"}), Allowed()).recovery_s == 0
    assert judge(replace(delayed, back_s=11.5, before_end=()), Allowed()).recovery_s == 1.5
