"""How many connections a burst of posts opens to one host."""

import threading
from collections.abc import Iterator

import pytest

from dingwire import thrifty
from dingwire.guarded import guarded_session
from dingwire.http import Answer
from dingwire.posting import JsonPoster
from tests.servers import wait_for
from tests.unit.dingwire.local_server import LocalServer, Told


@pytest.fixture
def poster() -> Iterator[JsonPoster]:
    poster = JsonPoster(guarded_session("tests/1", lambda host, _: [host]), timeout_s=(30, 30))
    yield poster
    poster.close()


def test_a_burst_hands_on_the_connection_there_is(server: LocalServer, poster, monkeypatch):
    """Nobody would open a second one within an hour."""
    monkeypatch.setattr(thrifty, "WAIT_S", 3600)
    answers = list[object]()

    def post() -> None:
        answers.append(poster.post(server.url, {}))

    posting = [threading.Thread(target=post) for _ in range(20)]
    for thread in posting:
        thread.start()
    for thread in posting:
        thread.join()

    assert [type(answer) for answer in answers] == [Answer] * 20
    assert server.connections == 1


def test_a_post_without_an_answer_keeps_no_other_one(server: LocalServer, poster):
    server.answers_at("/hangs", Told(hangs=True))
    hanging = threading.Thread(target=poster.post, args=(f"{server.url}/hangs", {}))
    hanging.start()
    wait_for(lambda: server.posts_to("/hangs"), what="the first post")

    assert isinstance(poster.post(f"{server.url}/quick", {}), Answer)

    server.released.set()
    hanging.join()


def test_a_connection_that_was_lost_is_not_waited_for(server: LocalServer, poster, monkeypatch):
    monkeypatch.setattr(thrifty, "WAIT_S", 3600)
    server.answers_at("/breaks", Told(hangs_up=True))
    poster.post(f"{server.url}/breaks", {})

    assert isinstance(poster.post(server.url, {}), Answer)
