"""What the wire's record shows, and what it never shows."""

import json

import pytest

from dingwire.simulator.wire import KEPT, Exchange, Wire, shortened

SECRET = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    "value",
    [
        {"clientSecret": SECRET},
        {"headers": [{"accessToken": SECRET}]},
        {"content": json.dumps({"downloadCode": SECRET})},
        {"data": json.dumps({"content": json.dumps({"pictureDownloadCode": SECRET})})},
        f"http://127.0.0.1:1/robot/sendBySession?session={SECRET}",
        {"sessionWebhook": f"http://127.0.0.1:1/robot/sendBySession?session={SECRET}&x=1"},
        f'{{"clientSecret": "{SECRET}", cut off',
        f'[{{"ticket":"{SECRET}"}}] and more',
        f"client_secret={SECRET}&grant_type=client_credentials",
        {"downloadUrl": f"http://127.0.0.1:1/storage/1.file?Expires=1&Signature={SECRET}"},
    ],
    ids=[
        *("member", "in a list", "in text", "in text in text", "address", "webhook"),
        *("cut off", "not all JSON", "form", "storage"),
    ],
)
def test_a_secret_shows_its_first_letters_only(value):
    shown = json.dumps(shortened(value), ensure_ascii=False)

    assert "abcd…" in shown
    assert "abcde" not in shown


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900],
    ids=["lists without end", "objects without end", "lists", "objects"],
)
def test_what_is_nested_without_end_is_shown_all_the_same(text):
    noted = Wire().note(0, "in", "api", "POST /x", request=text)
    said = Wire().note(0, "out", "push", "bot", request=json.dumps({"content": text}))

    assert json.dumps(noted.shown())
    assert json.dumps(said.shown())


def test_what_is_no_secret_stays_as_it_was():
    value = {"text": {"content": "hello"}, "n": [1, None, True], "data": '{"opaque": "x"}'}

    assert shortened(value) == value


def test_a_short_secret_does_not_show_at_all():
    assert shortened({"clientSecret": "letmein"}) == {"clientSecret": "…"}


def test_only_the_last_exchanges_are_kept_and_each_is_told():
    wire = Wire()
    heard: list[Exchange] = []
    stop = wire.listen(heard.append)
    for number in range(KEPT + 2):
        wire.note(number, "in", "api", "GET /x", request='{"a": 1}')
    stop()
    wire.note(0, "in", "api", "GET /y")

    assert len(wire.exchanges) == KEPT
    assert [each.number for each in heard] == list(range(1, KEPT + 3))
    assert heard[0].shown()["request"] == {"a": 1}
