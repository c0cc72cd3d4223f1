"""The commands of the bot itself, by the names that people write them under.

The listener asks which of them overtake (``listener/intake.py``) and puts those on a queue of
their own; the worker says what each does (``worker/chat_commands.py``). Pure.
"""

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from contract.envelope import Envelope

__all__ = [
    "NAMES",
    "OVERTAKING",
    "BuiltIn",
    "is_command_alone",
    "name_and_words",
    "normal",
    "overtaking",
]


class BuiltIn(StrEnum):
    """What everybody's bot knows; the value is its name."""

    HELP = "/help"
    NEW = "/new"
    STOP = "/stop"
    STATUS = "/status"
    WHOAMI = "/whoami"


OVERTAKING = frozenset({BuiltIn.HELP, BuiltIn.STOP, BuiltIn.STATUS, BuiltIn.WHOAMI})
"""Those that wait neither for their turn nor for a worker with a free slot.

``/new`` does wait: what was asked before it belongs to what it ends.
"""

NAMES: Mapping[str, BuiltIn] = MappingProxyType(
    {each.value: each for each in BuiltIn}
    | dict.fromkeys(("/?", "/帮助", "/幫助"), BuiltIn.HELP)
    | dict.fromkeys(("/新对话", "/新對話", "/新会话", "/新會話"), BuiltIn.NEW)
    | dict.fromkeys(("/停止", "/停"), BuiltIn.STOP)
    | dict.fromkeys(("/状态", "/狀態"), BuiltIn.STATUS)
    | dict.fromkeys(("/我是谁", "/我是誰"), BuiltIn.WHOAMI)
)
"""Every name of theirs as :func:`normal` returns it."""

# Blank as well, and no white space to Python: zero-width ones, and marks that phones add.
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_FIRST_WORD = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*(\S*)\s*(.*)", re.DOTALL)


def normal(name: str) -> str:
    """Return a name as it is compared: no blanks around it, half-width, in small letters.

    Chinese keyboards write ``／ｓｔｏｐ``, and phones begin with a capital.
    """
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", name)).strip().casefold()


def name_and_words(text: str) -> tuple[str, str]:
    """Return the first word of a text as :func:`normal` does, and what stands behind it."""
    found = _FIRST_WORD.match(text)
    assert found is not None  # noqa: S101, nothing in it is required
    return normal(found[1]), found[2].strip()


def is_command_alone(envelope: Envelope) -> bool:
    """Whether a message can be a command: words of one message, and nothing with them."""
    return not (envelope.earlier or envelope.attachments) and envelope.error_code is None


def overtaking(envelope: Envelope) -> BuiltIn | None:
    """Return the command that a message consists of, if it is one that overtakes."""
    found = NAMES.get(normal(envelope.text)) if is_command_alone(envelope) else None
    return found if found in OVERTAKING else None
