"""A worker may die between any two things it does: the next one loses nothing of the answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dingwire.replies import Image, Reply, Text
from tests.unit.worker.answering_parts import LEASE_S, Desk, RecordingWebhook, words
from tests.unit.worker.thinking_parts import RecordingApi
from worker.store import Scope
from worker.thinking import CardSettings

CARD = CardSettings("t.schema", every_s=0.01)
PICTURE = Image(media_id="@lADpicture")
ANSWER: list[Reply] = [Text(content="one"), PICTURE, Text(content="two")]
STEPS = {"claim", "keep_answer", "sending", "release", "finish", "miss"}


class _Death(BaseException):
    """The process is gone; nothing that handles errors sees it."""


class Fate:
    """Lets a worker die at the ``at``-th moment; 0 lets it live, and counts them."""

    def __init__(self, at: int) -> None:
        self.at, self.moments = at, 0

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self.at:
            raise _Death

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **kwargs: Any) -> Any:
            self.moment()
            result = call(*args, **kwargs)
            self.moment()
            return result

        return mortal


class MortalStore:
    """A store, whose every step may be the last."""

    def __init__(self, store: Any, fate: Fate) -> None:
        self._store, self._fate = store, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._fate.around(found) if name in STEPS else found


class MortalWebhook:
    """A webhook, after whose every post the worker may be gone."""

    def __init__(self, webhook: RecordingWebhook, fate: Fate) -> None:
        self.post = fate.around(webhook.post)


def live_and_die(folder: Path, at: int, agent: Any, **how: Any) -> tuple[Desk, int]:
    """Have one worker die, and others go on until the message is finished."""
    desk, fate = Desk(folder), Fate(at)
    store, desk.store = desk.store, MortalStore(desk.store, fate)  # type: ignore[assignment]
    worker = desk.worker(agent, webhook=MortalWebhook(desk.webhook, fate), **how)
    desk.store = store
    try:
        desk.answer(worker)
    except _Death:
        for _ in range(8):  # as the sweep asks all the time; it waits a while for the dead one
            desk.clock.advance(LEASE_S / 3)
            desk.due()
        desk.answer(desk.worker(agent, owner="worker2", **how))
    assert desk.record()["outcome"] == "SUCCESS", f"after a death at moment {at}"
    return desk, fate.moments


def told(desk: Desk) -> list[str]:
    return [*desk.webhook.posted, *(sent[-1] for sent in desk.proactive.sent)]


def deaths(folder: Path, agent: Any, **how: Any) -> list[Desk]:
    """Return how it went for each moment."""
    (folder / "0").mkdir()
    lived, moments = live_and_die(folder / "0", 0, agent, **how)
    lived.close()
    assert moments > 6
    found = []
    for at in range(1, moments + 1):
        (folder / str(at)).mkdir()
        desk, _ = live_and_die(folder / str(at), at, agent, **how)
        desk.close()
        found.append(desk)
    return found


def test_each_part_arrives_and_at_the_most_one_twice(tmp_path):
    whole = sorted(words(reply) for reply in ANSWER)

    for desk in deaths(tmp_path, lambda _: ANSWER):
        arrived = sorted(told(desk))
        assert set(arrived) == set(whole)
        assert len(arrived) <= len(whole) + 1
        order = [text for text in desk.webhook.posted if text != "[image]"]
        assert order in (["one", "two"], ["one", "one", "two"], ["one", "two", "two"])


def test_what_was_said_is_remembered_once(tmp_path):
    for desk in deaths(tmp_path, lambda _: "hi", history={"history_turns": 5}):
        asked = desk.store.exchanges(
            Scope("robot1", "cid1"), before=(2**52, 0), turns=9, within_s=3600
        )
        desk.store.close()
        assert [each["answered"]["text"] for each in asked] == ["hi"]


def test_what_a_card_has_begun_to_carry_is_in_no_message(tmp_path):
    api = RecordingApi()

    def agent(_message: Any) -> Any:
        before = len(api.streamed)
        yield "one"
        api.until(lambda a: len(a.streamed) > before, "the card")
        yield PICTURE

    for desk in deaths(tmp_path, agent, thinking="card", card=CARD, api=api):
        assert desk.webhook.posted == []
        assert set(told(desk)) == {"[image]"}
        assert len(told(desk)) <= 2
        assert api.streamed[-1] == "one"
