"""What an agent is: a callable that takes a message and returns the reply.

``worker/agents/loading.py`` loads it at start, so that a mistake is seen before the first message;
``worker/agents/runner.py`` calls it.
"""

import importlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from contract.content import Mention
from contract.content import Quoted as QuotedCode
from contract.envelope import Earlier, Envelope
from worker.agents.attachments import Attachment, Fetch, not_fetched

__all__ = [
    "MOST_TURNS",
    "Agent",
    "AgentLoadError",
    "Message",
    "Quoted",
    "Sender",
    "load_object",
    "place_of",
    "wanted_tokens",
    "wanted_turns",
]

Agent = Callable[..., Any]
"""Takes a message, or a message and its context (``worker/agents/context.py``).

Plain or async; it returns the reply, or yields it in pieces. Or a class, whose one object is that.

None, an empty text and yielding nothing are silence, which is an answer too.
"""


MOST_TURNS = 200  # of a conversation, that anybody is reminded of

_EXAMPLES = {"AGENT": "my_agent:answer", "OPENAI_TOOLS": "my_tools:weather"}
_KINDS_OF_WORDS = frozenset({"text", "richtext", "markdown"})


class AgentLoadError(Exception):
    """``AGENT``, or the variable of a handler, names nothing that can be called with what comes."""


@dataclass(frozen=True)
class Sender:
    """Who wrote it; ``staff_id`` is None for people outside of the bot's organisation."""

    staff_id: str | None
    nick: str = field(repr=False)
    sender_id: str
    is_admin: bool = False


@dataclass(frozen=True)
class Quoted:
    """The message that was quoted, as far as DingTalk tells.

    Of a card of the bot's own it tells no content: ``text`` is empty, ``is_from_bot`` true.
    """

    text: str = field(default="", repr=False)
    attachments: tuple[Attachment, ...] = ()
    kind: str = "unknown"
    message_id: str = ""
    sender_id: str = ""
    sender_nick: str = field(default="", repr=False)
    is_from_bot: bool = False
    created_at: datetime | None = None
    process_query_key: str = ""

    @classmethod
    def of(cls, code: QuotedCode, fetch: Fetch) -> Self:
        """Return what an envelope carries."""
        return cls(
            text=code.text,
            attachments=tuple(Attachment.of(each, fetch) for each in code.attachments),
            kind=code.kind,
            message_id=code.message_id,
            sender_id=code.sender_id,
            sender_nick=code.sender_nick,
            is_from_bot=code.is_from_bot,
            created_at=code.created_at,
            process_query_key=code.process_query_key,
        )


@dataclass(frozen=True)
class Message:
    """What was written to the bot, as an agent sees it.

    ``text`` is what a reader would read, with ``BURST=merge`` one line or more for each message of
    the turn, whose ``attachments`` and ``mentions`` are all here; ``quoted`` is kept apart from it.
    ``kind`` is DingTalk's ``msgtype``, ``raw`` what came with the message and is nowhere else.
    ``deadline`` is the last moment a reply can be posted, aware UTC on DingTalk's clock. See
    docs/agents.md.
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
    attachments: tuple[Attachment, ...] = ()
    quoted: Quoted | None = None
    mentions: tuple[Mention, ...] = ()
    sender_is_admin: bool = False
    is_delegated: bool = False
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def sender(self) -> Sender:
        """Who wrote it."""
        return Sender(
            staff_id=self.sender_staff_id,
            nick=self.sender_nick,
            sender_id=self.sender_id,
            is_admin=self.sender_is_admin,
        )

    @property
    def has_content(self) -> bool:
        """Whether there is anything in it that an agent can work with."""
        return bool(self.text or self.attachments or self.quoted)

    @property
    def is_readable(self) -> bool:
        """Whether an agent can read it; who only mentions the bot has still said something."""
        return self.has_content or self.kind.lower() in _KINDS_OF_WORDS

    @property
    def is_group(self) -> bool:
        """Whether others read the answer."""
        return self.conversation == "group"

    @classmethod
    def of(cls, envelope: Envelope, fetch: Fetch = not_fetched) -> Self:
        """Return the message an envelope carries; never its webhook."""
        turn: tuple[Earlier | Envelope, ...] = (*envelope.earlier, envelope)
        quoted = next((each.quoted for each in reversed(turn) if each.quoted), None)
        return cls(
            text="\n".join(each.text for each in turn if each.text),
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
            attachments=tuple(
                Attachment.of(code, fetch) for each in turn for code in each.attachments
            ),
            quoted=Quoted.of(quoted, fetch) if quoted else None,
            mentions=tuple(dict.fromkeys(who for each in turn for who in each.mentions)),
            sender_is_admin=envelope.sender_is_admin,
            is_delegated=envelope.is_delegated,
            raw=envelope.raw,
        )


def wanted_turns(agent: object) -> int:
    """Return how many turns of a conversation an agent asks to be reminded of; 0: none."""
    turns = getattr(agent, "history_turns", 0)
    return min(turns, MOST_TURNS) if isinstance(turns, int) and turns > 0 else 0


def wanted_tokens(agent: object) -> int | None:
    """Return how many tokens of it at most an agent asks for; None: any number."""
    tokens = getattr(agent, "history_tokens", None)
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def load_object(variable: str, spec: str) -> Any:
    """Import what a variable names.

    Args:
        variable: For the error.
        spec: ``module:attribute``; the module importable from the working directory or
            ``PYTHONPATH``, the attribute dotted when it sits deeper.

    Raises:
        AgentLoadError: Saying which half of the name does not hold, and what would.
    """
    named = f"{variable}={spec!r}"
    module_name, colon, attribute = spec.partition(":")
    if not (module_name and colon and attribute):
        example = _EXAMPLES.get(variable, "my_handlers:pressed")
        raise AgentLoadError(f"{named}: write module:attribute, such as {example}")
    found: Any = _import(named, module_name)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AgentLoadError(f"{named}: module {module_name} has no {attribute}") from None
    return found


def _import(named: str, module_name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except AgentLoadError as error:  # of a module that knows what it lacks
        raise AgentLoadError(f"{named}: {error}") from None
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            hint = "put it in the working directory, or its folder on PYTHONPATH"
        else:
            hint = f"it imports {missing}, which is not installed"
        raise AgentLoadError(f"{named}: cannot import {module_name}: {hint}") from error
    except (Exception, SystemExit) as error:  # noqa: BLE001, an agent raises what it likes
        # Its text is not ours to show: it may hold a secret.
        raise AgentLoadError(
            f"{named}: importing {module_name} raised {type(error).__name__}{place_of(error)}"
        ) from None


def place_of(error: BaseException) -> str:
    """Return the line something failed at, as far as that is known: " at FILE:LINE"."""
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
