"""Commands of one's own: what people tell a bot by a name, beside what they ask its agent.

An author makes a :class:`Commands` and names it in ``COMMANDS``; ``worker/own_commands.py`` loads
and judges it when the worker starts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Commands", "Help", "OwnCommand"]

_Called = TypeVar("_Called", bound=Callable[..., Any])

Help = str | Mapping[str, str]
"""What a command is for: a line, or one for each of ``zh`` and ``en``."""


@dataclass(frozen=True)
class OwnCommand:
    """One command: its names as they were written, the first of which ``/help`` shows first."""

    names: tuple[str, ...]
    call: Any
    help: Help = ""
    replaces: bool = False

    def help_in(self, spoken: str) -> str:
        """Return what it is for.

        Args:
            spoken: ``zh``, ``en``, or ``both`` of them.
        """
        if isinstance(self.help, str):
            return self.help
        if spoken == "both":
            return " · ".join(self.help[each] for each in ("zh", "en") if each in self.help)
        return self.help.get(spoken) or next(iter(self.help.values()), "")


class Commands:
    """The commands of one bot or of several.

    Each is called like an agent, with the message and, if it takes one, the context. The message's
    ``text`` is what stands behind the name.
    """

    def __init__(self) -> None:
        self._commands: list[OwnCommand] = []

    def __call__(
        self, *names: str, help: Help = "", replaces: bool = False
    ) -> Callable[[_Called], _Called]:
        """Return a decorator that makes a command of a callable.

        Args:
            names: What people write, each beginning with ``/`` and without blanks.
            help: What it is for, for ``/help``; left out: the first line of its docstring.
            replaces: It may stand in the place of a built-in command of that name.
        """

        def add(call: _Called) -> _Called:
            self._commands.append(OwnCommand(names, call, help or _first_line(call), replaces))
            return call

        return add

    def __iter__(self) -> Iterator[OwnCommand]:
        return iter(self._commands)

    @classmethod
    def of(cls, named: Mapping[str, Any]) -> "Commands":
        """Return those of a mapping from names to callables."""
        commands = cls()
        for name, call in named.items():
            commands._commands.append(OwnCommand((name,), call, _first_line(call)))
        return commands


def _first_line(call: object) -> str:
    lines = (getattr(call, "__doc__", None) or "").strip().splitlines()
    is_own = not isinstance(call, type) and (hasattr(call, "__code__") or _has_own_doc(call))
    return lines[0].strip() if lines and is_own else ""


def _has_own_doc(call: object) -> bool:
    """Whether it is not the docstring of what it is made of, as that of a partial."""
    return type(call).__module__ not in ("builtins", "functools")
