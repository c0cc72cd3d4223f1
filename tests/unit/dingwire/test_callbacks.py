"""Card buttons and events are read whatever is missing or odd in them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingwire.callbacks import parse_card_callback, parse_event
from dingwire.frames import parse_frame

SAMPLES = Path(__file__).parents[2] / "samples" / "pushes"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("content", "userId", "userIdType", "spaceId", "spaceType", "extension", "outTrackId")


def test_a_button_tells_which_card_which_button_and_who():
    private = {"actionIds": ["ok", 7, None], "params": {"choice": ["a", 1]}}
    card = parse_card_callback(
        {
            "outTrackId": "t1",
            "corpId": "corp1",
            "userId": " alice ",
            "userIdType": "1",
            "spaceId": "cid1",
            "spaceType": "IM_GROUP",
            "extension": '{"a": 1}',
            "content": json.dumps({"cardPrivateData": private, "more": True}),
        }
    )

    assert (card.out_track_id, card.corp_id, card.user_id) == ("t1", "corp1", "alice")
    assert (card.action_ids, card.params) == (("ok", "7"), {"choice": ["a", 1]})
    assert (card.is_group, card.staff_id) == (True, "alice")
    assert card.rest == {"more": True, "extension": {"a": 1}}
    assert "choice" not in repr(card)


def test_the_samples_are_read():
    """What docs/protocol.md says of both kinds."""
    card = parse_card_callback(json.loads((SAMPLES / "card-button.json").read_text()))
    assert (card.out_track_id, card.staff_id, card.is_group) == ("track-0001", "u100", True)
    assert (card.action_ids, card.params) == (("btn_ok",), {"action": "accept", "count": 2})
    assert card.rest == {}

    event = parse_event(parse_frame((SAMPLES / "event.json").read_text()))
    assert (event.event_id, event.event_type) == ("8f9c0000example", "user_add_org")
    assert event.data["userId"] == ["u100"]


@pytest.mark.parametrize("kind", [2, "2"])
def test_a_union_id_is_no_staff_id(kind):
    card = parse_card_callback({"userId": "union1", "userIdType": kind})
    assert (card.user_id, card.staff_id) == ("union1", None)


def test_an_event_is_named_by_its_headers():
    headers = {
        "eventId": "e1", "eventType": "user_add_org", "eventCorpId": "c1",
        "eventBornTime": "1767225600000",
    }  # fmt: skip
    frame = {"type": "EVENT", "headers": headers, "data": '{"userId": ["secret"]}'}
    event = parse_event(parse_frame(json.dumps(frame)))

    assert (event.event_id, event.event_type, event.corp_id) == ("e1", "user_add_org", "c1")
    assert event.born_at is not None
    assert event.data == {"userId": ["secret"]}
    assert "secret" not in repr(event)


@given(payload=st.dictionaries(st.sampled_from(NAMES), JSON | JSON.map(json.dumps)))
def test_nothing_in_a_button_raises_and_all_of_it_can_travel(payload):
    card = parse_card_callback(payload)
    json.dumps([card.params, card.rest], ensure_ascii=False).encode()


@given(headers=st.dictionaries(st.sampled_from(("eventId", "eventType", "eventBornTime")), JSON))
def test_nothing_in_an_event_raises(headers):
    parse_event(parse_frame(json.dumps({"type": "EVENT", "headers": headers, "data": "[]"})))


def test_half_a_surrogate_pair_is_replaced():
    content = {"cardPrivateData": {"params": {"a": "\ud800"}}}
    assert parse_card_callback({"content": content}).params == {"a": "?"}
