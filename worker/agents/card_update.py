"""What a handler of card buttons returns to change the card."""

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

__all__ = ["CardUpdate", "NotACardUpdateError", "card_update_of"]


class NotACardUpdateError(ValueError):
    """A handler returned what changes no card; the text names its type, never its value."""


class CardUpdate(BaseModel):
    """New values of a card's variables; those that are not named stay as they are.

    ``params`` are what everybody sees, ``private_params`` what only the person who pressed the
    button does. DingTalk knows texts alone: another value is sent as its JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    params: dict[str, str] = Field(default_factory=dict, repr=False)
    private_params: dict[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("params", "private_params", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _text(each) for name, each in value.items()}

    @classmethod
    def from_json(cls, raw: str) -> Self:
        """Read a kept one; fields that a later release added are left out.

        Raises:
            ValueError: It is none; the text does not show it.
        """
        try:
            return cls.model_validate_json(raw, extra="ignore")
        except ValidationError:
            problem = "what was kept is no card update"
        raise ValueError(problem)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not self.params and not self.private_params

    @classmethod
    def of(cls, params: dict[str, Any]) -> Self:
        """Make one of what everybody sees."""
        return cls.model_validate({"params": params})


def card_update_of(result: Any) -> CardUpdate | None:
    """Read what a handler returned; None when the card stays as it is.

    Raises:
        NotACardUpdateError: It is neither None, nor a dict of card variables, nor an update.
    """
    if isinstance(result, dict):
        try:
            result = CardUpdate.of(result)
        except (ValueError, TypeError, RecursionError):
            raise NotACardUpdateError("returned a dict that holds no card variables") from None
    if result is None or (isinstance(result, CardUpdate) and result.is_empty):
        return None
    if not isinstance(result, CardUpdate):
        raise NotACardUpdateError(f"returned {type(result).__name__}, not a card update")
    return result


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
