"""What one bot shows while its agent works, as ``worker/settings.py`` reads it."""

from dataclasses import dataclass
from typing import Literal

from worker.thinking.card import CardSettings
from worker.words import Language

__all__ = ["Mode", "Shown"]

Mode = Literal["reaction", "card", "text", "off"]


@dataclass(frozen=True)
class Shown:
    """What is shown, when it is said that the agent still works, and in which language.

    ``still_working_s`` None is never; ``card`` is needed for the mode of that name; with
    ``at_sender`` a card in a group mentions the person who wrote.
    """

    mode: Mode = "off"
    still_working_s: float | None = None
    card: CardSettings | None = None
    language: Language = "both"
    at_sender: bool = False

    @property
    def is_said(self) -> bool:
        """Whether anything is said in words."""
        return self.mode == "text" or self.still_working_s is not None

    @property
    def is_anything(self) -> bool:
        """Whether anything is shown."""
        return self.mode != "off" or self.still_working_s is not None
