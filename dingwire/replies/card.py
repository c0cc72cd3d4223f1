"""An interactive card, of a template made on DingTalk's card platform."""

import json
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dingwire.replies.fields import Model, Words, check_size
from dingwire.replies.texts import Markdown, title_of

__all__ = ["Card"]

MAX_KEY_BYTES = 100
MAX_TEMPLATE_CHARS = 200


class Card(Model):
    """A card with its template's variables filled in.

    Attributes:
        template_id: Ends in ``.schema``.
        values: The template's variables; what is not a string is sent as JSON text.
        text: Markdown that is sent where no card can be shown, and what the chat list shows.
        title: Of that text; its first line without one.
    """

    goes_by_webhook: ClassVar[bool] = False
    kind: Literal["card"] = "card"
    template_id: str = Field(min_length=1, max_length=MAX_TEMPLATE_CHARS, pattern=r"^\S+$")
    values: dict[str, Any] = Field(default_factory=dict, repr=False)
    text: Words = Field(repr=False)
    title: Words | None = Field(default=None, repr=False)

    @property
    def params(self) -> dict[str, str]:
        """The values as DingTalk wants them: text."""
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in self.values.items()
        }

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post: that of what is closest to it."""
        return self.closest().for_webhook()

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return the form of what is closest to it; a card itself goes by calls of its own."""
        return self.closest().proactively()

    def closest(self) -> Markdown:
        """Return what every way carries."""
        return Markdown(title=self.title or title_of(self.text), text=self.text)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(not key or len(key.encode()) > MAX_KEY_BYTES for key in self.values):
            raise ValueError(f"values: a name has 1 to {MAX_KEY_BYTES} bytes")
        try:
            params = self.params
        except (TypeError, ValueError, RecursionError):
            raise ValueError("values: must be text, or something that JSON knows") from None
        check_size("a card", [params, self.closest().for_webhook()])
        return self
