"""While it thinks: reactions, words and cards that say so."""

from worker.thinking.card import CardSettings
from worker.thinking.finishing import CardDelivery
from worker.thinking.shown import Mode, Shown
from worker.thinking.thought import Thinking, Thought

__all__ = ["CardDelivery", "CardSettings", "Mode", "Shown", "Thinking", "Thought"]
