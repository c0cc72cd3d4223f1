"""Log lines of both processes: fixed words plus fields, JSON for machines, text for people."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any, Literal

__all__ = ["configure"]

# What a LogRecord carries of itself; everything else came in by ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# At DEBUG they show frames and task bodies with what people wrote, and addresses with tickets and
# session webhooks.
_TELL_TOO_MUCH = ("amqp", "celery.pool", "kombu", "urllib3", "websockets")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in _OWN and k != "data"}


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
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextFormatter(logging.Formatter):
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the base's name
        fields = " ".join(f"{k}={v}" for k, v in _fields(record).items())
        line = super().formatMessage(record)
        return f"{line}  {fields}" if fields else line


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
    handler.setFormatter(_JsonFormatter() if chosen == "json" else _TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _TELL_TOO_MUCH:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)
