"""Log lines of both processes: fixed words plus fields, JSON for machines, text for people."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import IO, Any, Literal

__all__ = ["configure"]

# What a LogRecord carries of itself; everything else came in by ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}

# At DEBUG they show frames and task bodies with what people wrote, and addresses with tickets and
# session webhooks.
_TELL_TOO_MUCH = ("amqp", "celery.pool", "kombu", "urllib3", "websockets")

# At INFO they show the whole address of every request.
_TELL_ADDRESSES = ("httpcore2", "httpx2")

# At INFO they say twice of each task what our own lines say once.
_TELL_AGAIN = ("celery.app.trace", "celery.worker.strategy")

# Those that most lines have come first, in this order.
_FIRST = (
    *("action", "message_id", "conversation_id", "connection_id", "task_id", "attempt"),
    *("outcome", "age_s", "spare_s"),
)
_WORDS_WIDTH = 60
_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = vars(record)
    fields = {k: given[k] for k in _FIRST if k in given}
    for name, value in given.items():
        if name not in _OWN:
            fields[name] = value
    return fields


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _JSON.encode(line)


class _TextFormatter(logging.Formatter):
    default_msec_format = "%s.%03d"

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__()
        self._is_coloured = is_coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the base's name
        level = f"{record.levelname:<7}"
        if self._is_coloured and (colour := _COLOURS.get(record.levelname)):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        words = f"{record.name}: {' '.join(record.message.splitlines())}"
        line = f"{self.formatTime(record)} {level} {words}"
        fields = " ".join(f"{k}={_shown(v)}" for k, v in _fields(record).items())
        # Padded, so that fields stand below each other; after long words they begin where they can.
        return f"{line}{' ' * max(2, _WORDS_WIDTH - len(words))}{fields}" if fields else line


def _shown(value: object) -> str:
    """Return a value so that it is one, and on one line, for whoever reads or cuts it."""
    text = str(value)
    is_plain = text and text.isprintable() and not set(text) & {" ", '"'}
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())


def configure(
    level: str, form: Literal["text", "json"] | None, *, stream: IO[str] | None = None
) -> None:
    """Send every log line of this process to ``stream`` (stderr), once.

    Args:
        level: Least severe level.
        form: ``text``, ``json``, or None for text on a terminal and JSON elsewhere.
        stream: For tests.
    """
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    chosen = form or ("text" if out.isatty() else "json")
    is_coloured = out.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(
        _JsonFormatter() if chosen == "json" else _TextFormatter(is_coloured=is_coloured)
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _TELL_TOO_MUCH:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    for name in _TELL_AGAIN:
        least = logging.INFO if root.level <= logging.DEBUG else logging.WARNING
        logging.getLogger(name).setLevel(max(least, root.level))
    for name in _TELL_ADDRESSES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
