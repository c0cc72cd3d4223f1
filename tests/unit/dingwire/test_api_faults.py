"""What the old API says, whose answers come with HTTP 200."""

import pytest

from dingwire.api_faults import fault_of
from dingwire.errors import (
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
)
from dingwire.http import Answer


def test_a_zero_means_that_it_worked():
    assert fault_of(Answer(200, {"errcode": 0, "media_id": "@x"})) is None
    assert fault_of(Answer(200, {"errcode": "0", "media_id": "@x"})) is None


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"errcode": 40014, "errmsg": "x"}, OpenApiRefusedError, "40014"),
        ({"errcode": 88, "sub_code": 42001, "sub_msg": "x"}, OpenApiRefusedError, "42001"),
        ({"errcode": 88, "errmsg": "x"}, OpenApiUnavailableError, "88"),
        ({"errcode": -1, "errmsg": "x"}, OpenApiUnavailableError, "-1"),
        ({"errcode": 90018, "errmsg": "x"}, OpenApiUnavailableError, "90018"),
        ({"errcode": 90005, "errmsg": "x"}, OpenApiThrottledError, "90005"),
        ({"errcode": 90020, "errmsg": "x"}, OpenApiRefusedError, "90020"),
    ],
)
def test_a_number_is_judged_as_a_webhooks_is(body, kind, code):
    fault = fault_of(Answer(200, body))

    assert isinstance(fault, kind)
    assert (fault.code, fault.message) == (code, "x")


def test_a_zero_under_an_error_status_is_no_success():
    assert type(fault_of(Answer(502, {"errcode": 0}))) is OpenApiUnavailableError


def test_a_token_in_its_words_is_cut():
    fault = fault_of(Answer(200, {"errcode": 40035, "errmsg": "bad s3cret-token"}), "s3cret-token")

    assert fault is not None
    assert "s3cret" not in fault.message
