"""What people see while an answer is made, from a message's claim to its end."""

import asyncio
import threading
from datetime import timedelta

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookBusyError
from dingwire.replies import Markdown
from tests.servers import wait_for
from tests.unit.worker.answering_parts import LEASE_S, Desk, envelope
from tests.unit.worker.thinking_parts import (
    ADD,
    CREATE,
    RECALL,
    REFUSED,
    STREAM,
    UPDATE,
    RecordingApi,
)
from worker.outcome import FinalState
from worker.store import Reason
from worker.thinking import CardSettings
from worker.words import FAILED

CARD = CardSettings("t.schema", every_s=0.01)
TASK = task_id("robot1", "msg1")


@pytest.fixture
def api() -> RecordingApi:
    return RecordingApi()


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def streaming(desk, api):
    """A worker that shows cards."""

    def worker(agent, **more):
        return desk.worker(agent, thinking="card", card=CARD, api=api, **more)

    return worker


def yielding(api, *pieces, then=None):
    """An agent that waits for its card to show each piece, and then raises, if told so."""

    def agent(_message):
        shown = ""
        for piece in pieces:
            yield piece
            shown += piece
            api.until(lambda a, shown=shown: shown in a.streamed, "the card")
        if then is not None:
            raise then

    return agent


# Cards.


def test_an_answer_that_its_card_carries_is_not_sent_again(desk, api, streaming):
    outcome = desk.answer(streaming(yielding(api, "**one**", " two")))

    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["route"] == "card"
    assert outcome.facts["outcome"] == "on_time"
    assert api.streamed[-1] == "**one** two"
    assert api.statuses == ["1", "2", "3"]
    assert desk.webhook.attempts == 0
    assert desk.record()["state"] == "done"


def test_an_agent_that_does_not_yield_gets_no_card(desk, api, streaming):
    outcome = desk.answer(streaming(desk.agent()))

    assert outcome.facts["route"] == "webhook"
    assert api.paths == []


def test_a_sender_without_staff_id_gets_the_answer_without_a_card(desk, api, streaming):
    worker = streaming(lambda _: iter(["an ", "answer"]))

    desk.answer(worker, envelope(sender_staff_id=None))

    assert desk.webhook.posted == ["an answer"]
    assert api.paths == []


@pytest.mark.parametrize("path", [CREATE, UPDATE, STREAM])
def test_on_any_error_of_its_card_the_answer_goes_out_by_the_webhook(desk, api, streaming, path):
    api.always[path] = REFUSED

    outcome = desk.answer(streaming(lambda _: iter(["an ", "answer"])))

    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["route"] == "webhook"
    assert desk.webhook.posted == ["an answer"]


def test_a_card_that_cannot_be_finished_says_where_the_answer_is(desk, api, streaming):
    def agent(message):
        yield from yielding(api, "an answer")(message)
        api.errors[STREAM] = [REFUSED]

    outcome = desk.answer(streaming(agent))
    api.until(lambda a: a.statuses[-1] == "5", "the mark")

    assert outcome.facts["route"] == "webhook"
    assert desk.webhook.posted == ["an answer"]
    assert api.streamed[-1] == "an answer\n\nThe whole reply is in the next message"
    assert api.to(STREAM)[-1]["isError"]


def test_a_stream_that_fails_midway_leaves_a_card_that_says_so(desk, api, streaming):
    outcome = desk.answer(streaming(yielding(api, "so far", then=ValueError("secret"))))
    api.until(lambda a: a.statuses[-1] == "5", "the mark")

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    sorry = FAILED.in_("both")
    assert api.streamed == ["so far", f"so far\n\n{sorry}"]
    assert api.to(STREAM)[-1]["isError"]
    assert desk.webhook.attempts == 0  # it is not said twice


def test_what_the_agent_does_is_shown_until_there_are_words(desk, api, streaming):
    def agent(_message, context):
        context.progress("looking it up")
        api.until(lambda a: a.streamed == ["looking it up"], "the progress")
        yield "the answer"

    outcome = desk.answer(streaming(agent))

    assert outcome.facts["route"] == "card"
    assert api.streamed[-1] == "the answer"


def test_a_card_that_showed_only_what_the_agent_does_says_that_it_failed(desk, api, streaming):
    def agent(_message, context):
        context.progress("looking it up")
        api.until(lambda a: a.streamed == ["looking it up"], "the progress")
        raise ValueError

    desk.answer(streaming(agent))
    api.until(lambda a: a.statuses[-1] == "5", "the mark")

    assert api.streamed[-1] == FAILED.in_("both")
    assert desk.webhook.attempts == 0


def test_a_stream_that_takes_too_long_leaves_a_card_that_says_so(desk, api, streaming):
    async def agent(_message):
        yield "so far"
        await asyncio.Event().wait()

    outcome = desk.answer(streaming(agent, agent_timeout_s=1.5))
    api.until(lambda a: a.statuses[-1:] == ["5"] or not a.paths, "the mark")

    assert outcome.reason is Reason.AGENT_TIMEOUT


def test_a_card_carries_an_answer_whose_webhook_is_over(desk, api, streaming):
    """It needs none: the person has been looking at the card all the time."""

    def agent(message):
        yield from yielding(api, "so far", " and on")(message)
        desk.clock.advance(3600)

    outcome = desk.answer(streaming(agent))

    assert outcome.state is FinalState.RESCUED
    assert outcome.facts["route"] == "card"
    assert desk.missed() is None


def test_near_the_deadline_the_answer_waits_for_no_card(desk, api, streaming):
    """An API that does not answer could take all the time that is left."""
    message = envelope(deadline=desk.clock.now + timedelta(seconds=59))

    outcome = desk.answer(streaming(yielding(api, "one", " two")), message)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["one two"]
    api.until(lambda a: "5" in a.statuses, "the card to say that it is not the answer")


def test_replies_after_the_text_go_out_as_messages_when_the_card_is_done(desk, api, streaming):
    def agent(message):
        yield from yielding(api, "an answer")(message)
        yield Markdown(title="more", text="**more**")

    desk.webhook.at_post = lambda: desk.webhook.posted.append(f"card {api.statuses[-1]}")
    outcome = desk.answer(streaming(agent))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["card 3", "**more**"]
    assert api.streamed[-1] == "an answer"


def test_the_second_run_of_an_operator_has_no_audience(desk, api, streaming):
    agent = yielding(api, "so far", then=ValueError())
    desk.answer(streaming(agent))
    api.until(lambda a: a.statuses[-1] == "5", "the mark")
    before = len(api.calls)
    again = desk.store.rerun(TASK, hold_s=60)
    assert again is not None

    outcome = desk.work(streaming(lambda _: iter(["an ", "answer"])), again.envelope)

    assert outcome.state is FinalState.SUCCESS
    assert len(api.calls) == before


# Cards, after a worker's death.


def died_after_keeping(desk, state="open") -> None:
    """A worker kept its answer, which its card has shown a part of, and died."""
    message = envelope()
    claim = desk.store.claim(TASK, owner="dead", lease_s=LEASE_S, envelope=message.to_wire())
    desk.store.remember("card", TASK, {"state": state}, ttl_s=86_400)
    desk.store.keep_answer(claim.lease, '{"kind":"text","content":"an answer"}')
    desk.store.sending(claim.lease, sent=0)
    desk.clock.advance(LEASE_S + 1)


def test_the_next_worker_finishes_the_card_that_a_dead_one_left(desk, api, streaming):
    died_after_keeping(desk)

    outcome = desk.work(streaming(desk.agent()), None)

    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["route"] == "card"
    assert (api.streamed, api.statuses[-1]) == (["an answer"], "3")
    assert api.to(STREAM)[0]["outTrackId"] == f"answer-{TASK}"
    assert desk.agent_calls == []
    assert desk.webhook.attempts == 0


def test_or_sends_the_answer_without_it(desk, api, streaming):
    died_after_keeping(desk)
    api.always[STREAM] = REFUSED

    outcome = desk.work(streaming(desk.agent()), None)

    assert outcome.facts["route"] == "webhook"
    assert desk.webhook.posted == ["an answer"]


def test_a_card_that_was_given_up_is_not_taken_up_again(desk, api, streaming):
    died_after_keeping(desk, state="given_up")

    desk.work(streaming(desk.agent()), None)

    assert desk.webhook.posted == ["an answer"]
    assert not any(body["isFinalize"] for body in api.to(STREAM))


def test_a_retried_delivery_does_not_return_to_the_card(desk, api, streaming):
    worker = streaming(lambda _: iter(["an ", "answer"]))
    api.always[STREAM] = REFUSED
    desk.webhook.answers = [WebhookBusyError(-1)]
    first = desk.answer(worker)
    api.always.clear()

    second = desk.deliver_when_due(worker, first)

    assert second.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["an answer"]


def test_an_agent_that_runs_again_shows_its_pieces_in_the_card_that_is_there(desk, api, streaming):
    message = envelope()
    desk.store.claim(TASK, owner="dead", lease_s=LEASE_S, envelope=message.to_wire())
    desk.store.remember("card", TASK, {"state": "open"}, ttl_s=86_400)
    desk.clock.advance(LEASE_S + 1)

    outcome = desk.answer(streaming(yielding(api, "again")))

    assert outcome.facts["route"] == "card"
    assert {body["outTrackId"] for body in api.to(STREAM)} == {f"answer-{TASK}"}


def test_the_card_of_a_worker_that_gave_the_message_back_is_marked_too(desk, api, streaming):
    message = envelope()
    claim = desk.store.claim(TASK, owner="ended", lease_s=LEASE_S, envelope=message.to_wire())
    desk.store.remember("card", TASK, {"state": "open"}, ttl_s=86_400)
    desk.store.release(claim.lease, due_in_s=0)

    outcome = desk.answer(streaming(desk.agent(ValueError())))
    api.until(lambda a: a.statuses == ["5"], "the mark")

    assert outcome.reason is Reason.AGENT_FAILED


def test_the_card_of_a_dead_worker_is_marked_when_there_will_be_no_answer(desk, api, streaming):
    message = envelope()
    desk.store.claim(TASK, owner="dead", lease_s=LEASE_S, envelope=message.to_wire())
    desk.store.remember("card", TASK, {"state": "open"}, ttl_s=86_400)
    desk.clock.advance(3600)

    outcome = desk.answer(streaming(desk.agent()))
    api.until(lambda a: a.statuses == ["5"], "the mark")

    assert outcome.reason is Reason.EXPIRED_IN_QUEUE


# Reactions.


def test_a_reaction_is_there_while_the_agent_works_and_goes_with_the_reply(desk, api):
    def agent(_message):
        api.until(lambda a: a.to(ADD), "the reaction")
        assert not api.to(RECALL)
        return "an answer"

    outcome = desk.answer(desk.worker(agent, thinking="reaction", api=api))
    api.until(lambda a: a.to(RECALL), "its end")

    assert outcome.state is FinalState.SUCCESS
    assert api.to(ADD)[0]["openMsgId"] == "msg1"


def test_a_reaction_goes_when_the_agent_fails_too(desk, api):
    def agent(_message):
        api.until(lambda a: a.to(ADD), "the reaction")
        raise ValueError

    desk.answer(desk.worker(agent, thinking="reaction", api=api))

    api.until(lambda a: a.to(RECALL), "its end")


def test_a_reaction_stays_until_the_attempt_that_delivers(desk, api):
    def agent(_message):
        api.until(lambda a: a.to(ADD), "the reaction")
        return "an answer"

    worker = desk.worker(agent, thinking="reaction", api=api)
    desk.webhook.answers = [WebhookBusyError(-1)]
    first = desk.answer(worker)
    assert api.to(RECALL) == []

    desk.deliver_when_due(worker, first)

    api.until(lambda a: a.to(RECALL), "its end")


def test_a_reaction_that_hangs_delays_no_reply(desk, api):
    gate = threading.Event()
    api.at[ADD] = lambda: gate.wait(60)

    outcome = desk.answer(desk.worker(desk.agent(), thinking="reaction", api=api))

    assert outcome.state is FinalState.SUCCESS
    assert not gate.is_set()
    gate.set()


def test_a_process_that_ends_takes_its_reactions_off(desk, api):
    """The message goes back, and whoever has it next puts on another one."""
    gate = threading.Event()

    def agent(_message):
        gate.wait(60)
        return "an answer"

    worker = desk.worker(agent, thinking="reaction", api=api)
    running = desk.start(worker)
    api.until(lambda a: a.to(ADD), "the reaction")
    worker._thinking.stop()

    api.until(lambda a: a.to(RECALL), "its end")
    gate.set()
    running.result(60)

    assert len(api.to(RECALL)) == 1


# Words.


def test_a_word_at_once_comes_before_the_answer(desk):
    def agent(_message):
        wait_for(lambda: desk.webhook.posted, limit_s=60, what="the first words")
        return "an answer"

    desk.answer(desk.worker(agent, thinking="text"))

    assert desk.webhook.posted == ["Got it, thinking…", "an answer"]


def test_an_agent_that_takes_long_is_said_to_be_working(desk):
    def agent(_message):
        wait_for(lambda: len(desk.webhook.posted) == 2, limit_s=60, what="the words")
        return "an answer"

    desk.answer(desk.worker(agent, still_working_s=0.05))

    first, second, answer = desk.webhook.posted
    assert first == second == "Still working on it, 5 min more at most"
    assert answer == "an answer"


def test_a_quick_agent_is_not_talked_about(desk):
    desk.answer(desk.worker(desk.agent(), still_working_s=600))

    assert desk.webhook.posted == ["an answer"]


def test_words_that_are_being_posted_are_waited_for_so_that_the_answer_is_the_last(desk):
    posting, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        if not posting.is_set():
            posting.set()
            may_end.wait(60)

    def agent(_message):
        assert posting.wait(60)
        threading.Timer(0.1, may_end.set).start()
        return "an answer"

    desk.webhook.at_post = hold
    desk.answer(desk.worker(agent, thinking="text"))

    assert desk.webhook.posted == ["Got it, thinking…", "an answer"]


def test_words_that_do_not_arrive_fail_no_reply(desk):
    def agent(_message):
        wait_for(lambda: desk.webhook.attempts, limit_s=60, what="the first words")
        return "an answer"

    desk.webhook.answers = [WebhookBusyError(-1)]
    outcome = desk.answer(desk.worker(agent, thinking="text"))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["an answer"]


def test_near_the_deadline_nothing_is_said(desk):
    asked = threading.Event()

    def agent(_message):
        assert asked.wait(60)
        return "an answer"

    def spare_s(_envelope):
        asked.set()
        return 10.0

    worker = desk.worker(agent, still_working_s=0.05)
    worker._thinking._spare_s = spare_s
    desk.answer(worker)

    assert desk.webhook.posted == ["an answer"]
