"""Leads a conversation: what is written goes to the bot, one message after the other."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import click

from worker.chatting.screen import Screen
from worker.chatting.told import End, Partner, Told

__all__ = ["Session", "typed"]

_PROMPT = "you> "


class Session:
    """One conversation; remembers whether all of it went well."""

    def __init__(self, partner: Partner, screen: Screen, *, as_json: bool) -> None:
        """Prepare; with ``as_json`` each message is told in a line of JSON."""
        self._partner, self._screen, self._as_json = partner, screen, as_json
        self.is_well = True

    def lead(self, messages: Iterable[str], files: Sequence[Path] = ()) -> None:
        """Write each message, the first with ``files``, and show what becomes of it."""
        for text in messages:
            if not text and not files:
                continue
            try:
                told = self._partner.ask(text, files)
            except KeyboardInterrupt:  # before there was an answer to stop
                told = Told(End.STOPPED, why="not waited for any longer")
            files = ()
            self._tell(text, told)

    def _tell(self, text: str, told: Told) -> None:
        self.is_well &= told.is_well
        if self._as_json:
            click.echo(json.dumps(told.as_json(text), ensure_ascii=False))
        if told.end is End.SILENT:
            self._screen.note("no answer: the agent chose silence")
        elif not told.is_well:
            self._screen.note(f"no answer: {told.why}")


def typed(lines: IO[str], *, is_terminal: bool) -> Iterator[str]:
    """Yield what is typed, or comes by a pipe, until its end."""
    if not is_terminal:
        for line in lines:
            yield line.strip()
        return
    import readline  # noqa: F401  # by being there it lets lines be edited

    while True:
        try:
            yield input(_PROMPT).strip()
        except KeyboardInterrupt:
            click.echo()  # the line is given up
        except EOFError:
            click.echo()
            return
