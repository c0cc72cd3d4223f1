"""The access token is one for all processes, and a secret."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contract.sealing import IN_CLEAR, Sealer
from dingwire.tokens import Token
from tests.unit.worker.shared_parts import AwayStore, Shared, opened
from worker.sending.shared_token import SharedToken

TOKEN = "the-token-of-the-day"


@pytest.fixture
def shared(tmp_path) -> Iterator[Shared]:
    with opened(tmp_path) as shared:
        yield shared


def cache(shared: Shared, **more: Any) -> SharedToken:
    base: dict[str, Any] = {"client_id": "ding1", "endpoint": "https://api", "sealer": IN_CLEAR}
    more = base | more
    return SharedToken(more.pop("store", shared.store), clock=shared.now, **more)


def put(shared: Shared, value: str = TOKEN, **more: Any) -> None:
    cache(shared, **more).put(Token(value, shared.now() + timedelta(hours=1)))


def value(cache: SharedToken) -> str | None:
    token = cache.get()
    return None if token is None else token.value


def test_what_one_process_fetched_another_uses_for_as_long(shared):
    put(shared)
    shared.clock.advance(600)

    token = cache(shared).get()

    assert token == Token(TOKEN, shared.now() + timedelta(minutes=50))


def test_the_newest_counts_and_only_while_it_is_good(shared):
    put(shared, "old")
    put(shared)

    assert value(cache(shared)) == TOKEN
    shared.clock.advance(3600)
    assert cache(shared).get() is None


@pytest.mark.parametrize("other", [{"client_id": "ding2"}, {"endpoint": "http://127.0.0.1:1"}])
def test_it_is_nobody_elses(shared, other):
    put(shared)

    assert cache(shared, **other).get() is None


def test_with_a_key_it_is_kept_sealed(shared):
    sealer = Sealer.from_setting(Fernet.generate_key().decode())
    put(shared, sealer=sealer)

    note = shared.store.recalled("token", "ding1 https://api")
    assert TOKEN not in repr(note)
    assert value(cache(shared, sealer=sealer)) == TOKEN
    assert cache(shared).get() is None
    assert cache(shared, sealer=Sealer.from_setting(Fernet.generate_key().decode())).get() is None


def test_no_repr_shows_it(shared):
    put(shared)

    assert TOKEN not in repr(cache(shared).get())
    assert TOKEN not in repr(cache(shared))


@pytest.mark.parametrize("facts", [{}, {"token": 1}, {"token": "t", "life_s": "soon"}])
def test_a_note_of_another_shape_is_none(shared, facts):
    shared.store.remember("token", "ding1 https://api", facts, ttl_s=60)

    assert cache(shared).get() is None


def test_a_store_that_is_away_is_an_empty_cache(shared):
    put(shared, store=AwayStore())

    assert cache(shared, store=AwayStore()).get() is None
