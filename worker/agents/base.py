"""What an agent is: a callable that takes a message and returns the reply.

``worker/process.py`` loads it at start, so that a mistake is seen before the first message;
``worker/agents/runner.py`` calls it.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from contract.envelope import Envelope

__all__ = ["Agent", "AgentLoadError", "Message", "load_agent"]

Agent = Callable[["Message"], Any]
"""Plain or async; it returns the reply, or yields it in pieces.

None, an empty text and yielding nothing are silence, which is an answer too.
"""


class AgentLoadError(Exception):
    """``AGENT`` names nothing that can be called with a message."""


@dataclass(frozen=True)
class Message:
    """What was written to the bot, as an agent sees it.

    ``text`` is what a reader would read, with ``BURST=merge`` one line or more for each message of
    the turn; ``kind`` DingTalk's ``msgtype``. ``deadline`` is the last
    moment a reply can be posted, aware UTC on DingTalk's clock.
    """

    text: str = field(repr=False)
    kind: str
    message_id: str
    bot: str
    conversation: Literal["private", "group"]
    conversation_id: str
    conversation_title: str = field(repr=False)
    sender_id: str
    sender_staff_id: str | None
    sender_nick: str = field(repr=False)
    created_at: datetime | None
    deadline: datetime | None

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """Return the message an envelope carries; never its webhook."""
        return cls(
            text="\n".join([*(each.text for each in envelope.earlier), envelope.text]),
            kind=envelope.kind,
            message_id=envelope.message_id,
            bot=envelope.bot,
            conversation=envelope.conversation.value,
            conversation_id=envelope.conversation_id,
            conversation_title=envelope.conversation_title,
            sender_id=envelope.sender_id,
            sender_staff_id=envelope.sender_staff_id,
            sender_nick=envelope.sender_nick,
            created_at=envelope.created_at,
            deadline=envelope.deadline,
        )


def load_agent(spec: str) -> Agent:
    """Import the agent that ``AGENT`` names.

    Args:
        spec: ``module:attribute``; the module importable from the working directory or
            ``PYTHONPATH``, the attribute dotted when it sits deeper.

    Raises:
        AgentLoadError: Saying which half of the name does not hold, and what would.
    """
    module_name, colon, attribute = spec.partition(":")
    if not (module_name and colon and attribute):
        raise AgentLoadError(f"AGENT={spec!r}: write module:attribute, such as my_agent:answer")
    found: Any = _import(spec, module_name)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AgentLoadError(
                f"AGENT={spec!r}: module {module_name} has no {attribute}"
            ) from None
    return _checked(spec, found)


def _import(spec: str, module_name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            hint = "put it in the working directory, or its folder on PYTHONPATH"
        else:
            hint = f"it imports {missing}, which is not installed"
        raise AgentLoadError(f"AGENT={spec!r}: cannot import {module_name}: {hint}") from error
    except (Exception, SystemExit) as error:  # noqa: BLE001, an agent raises what it likes
        # Its text is not ours to show: it may hold a secret.
        raise AgentLoadError(
            f"AGENT={spec!r}: importing {module_name} raised {type(error).__name__}{_place(error)}"
        ) from None


def _place(error: BaseException) -> str:
    """Return the line an import failed at, as far as that is known."""
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _checked(spec: str, found: Any) -> Agent:
    if inspect.isclass(found):
        raise AgentLoadError(f"AGENT={spec!r} is a class: name an instance or a function")
    if not callable(found):
        raise AgentLoadError(f"AGENT={spec!r} is a {type(found).__name__}, which nobody can call")
    try:
        inspect.signature(found).bind(object())
    except TypeError:
        raise AgentLoadError(
            f"AGENT={spec!r} cannot be called with one argument, the message"
        ) from None
    except ValueError:
        return found  # type: ignore[no-any-return]  # written in C, and tells nothing
    return found  # type: ignore[no-any-return]
