import io
import json
import logging
import warnings
from datetime import datetime, timedelta

import pytest

from contract.log import configure

EXTRA = {"action": "reply_posted", "message_id": "msg1", "age_s": 1.25}
logger = logging.getLogger("worker.sending.delivery")


@pytest.fixture(autouse=True)
def _restore():
    """Whatever pytest has put on the root logger comes back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.captureWarnings(False)  # an earlier test's stays on past pytest's own restoring
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def test_json_lines_hold_words_and_fields_for_machines():
    out = io.StringIO()
    configure("INFO", "json", stream=out)

    logger.info("reply posted", extra=EXTRA)

    line = json.loads(out.getvalue())
    time = datetime.fromisoformat(line.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert line == {
        "level": "INFO", "logger": "worker.sending.delivery", "message": "reply posted", **EXTRA,
    }  # fmt: skip


def test_text_lines_hold_words_and_fields_for_people():
    out = io.StringIO()
    configure("INFO", "text", stream=out)
    logger.warning("reply posted", extra=EXTRA)
    line = out.getvalue()
    assert "WARNING worker.sending.delivery: reply posted" in line
    assert line.endswith("  action=reply_posted message_id=msg1 age_s=1.25\n")


def test_text_lines_are_aligned_and_their_fields_in_order():
    out = io.StringIO()
    configure("INFO", "text", stream=out)
    logger.info("reply posted", extra={"parts": 2, "message_id": "msg1", "action": "reply_posted"})
    logging.getLogger("listener.link").warning("frame of no use dropped", extra={"action": "x"})

    first, second = out.getvalue().splitlines()
    assert first.endswith(" action=reply_posted message_id=msg1 parts=2")
    assert first.index("action=") == second.index("action=")
    assert first.index("worker.sending.delivery") == second.index("listener.link")


def test_a_text_line_is_one_line_whose_values_can_be_told_apart():
    out = io.StringIO()
    configure("INFO", "text", stream=out)
    fields = {"reason": "closed without a word", "id": "cid1==", "bad": "a\nb\x1b[31m", "none": ""}
    logger.info("two\nlines", extra=fields)

    [line] = out.getvalue().splitlines()
    assert "worker.sending.delivery: two lines " in line
    assert 'reason="closed without a word" id=cid1==' in line
    assert 'bad="a\\nb\\u001b[31m" none=""' in line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_colour", "is_coloured"), [("", True), ("1", False)])
def test_a_terminal_shows_the_level_in_colour_unless_told_not_to(
    monkeypatch, no_colour, is_coloured
):
    monkeypatch.setenv("NO_COLOR", no_colour)
    out = Terminal()
    configure("INFO", None, stream=out)
    logger.warning("late", extra=EXTRA)

    assert ("\x1b[33mWARNING\x1b[0m worker.sending.delivery: late" in out.getvalue()) is is_coloured
    assert out.getvalue().count("\x1b") == (2 if is_coloured else 0)


def test_a_file_or_a_pipe_gets_no_colour():
    out = io.StringIO()
    configure("INFO", "text", stream=out)
    logger.error("broken")
    assert "\x1b" not in out.getvalue()


def test_json_keeps_a_traceback_on_its_line():
    out = io.StringIO()
    configure("INFO", "json", stream=out)
    try:
        int("broken")
    except ValueError:
        logger.exception("agent failed")
    assert "ValueError: invalid literal" in json.loads(out.getvalue())["traceback"]


def test_a_field_that_is_not_json_is_written_as_its_text():
    out = io.StringIO()
    configure("INFO", "json", stream=out)
    logger.info("late", extra={"after": timedelta(seconds=2)})
    assert json.loads(out.getvalue())["after"] == "0:00:02"


def test_where_no_terminal_reads_lines_are_json():
    out = io.StringIO()
    configure("INFO", None, stream=out)
    logger.info("hello")
    assert json.loads(out.getvalue())["message"] == "hello"


def test_on_a_terminal_lines_are_text():
    out = Terminal()
    configure("INFO", None, stream=out)
    logger.info("hello")
    assert "INFO    worker.sending.delivery: hello" in out.getvalue()


def test_the_level_is_the_least_severe_one_logged():
    out = io.StringIO()
    configure("WARNING", "text", stream=out)
    logger.info("quiet")
    logger.warning("loud")
    assert "quiet" not in out.getvalue()
    assert "loud" in out.getvalue()


def test_configuring_again_does_not_double_the_lines():
    out = io.StringIO()
    configure("INFO", "json", stream=io.StringIO())
    configure("INFO", "json", stream=out)
    logger.info("once")
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize("name", ["httpx2", "httpcore2.http11"])
def test_the_addresses_of_requests_are_not_logged(name):
    out = io.StringIO()
    configure("DEBUG", "json", stream=out)
    logging.getLogger(name).info("HTTP Request: POST https://agent.example/?key=SECRET")
    assert out.getvalue() == ""


def test_warnings_become_log_lines():
    out = io.StringIO()
    configure("INFO", "json", stream=out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in json.loads(out.getvalue())["message"]
