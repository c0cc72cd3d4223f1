"""What the fields of replies may hold, and what is said when they hold something else.

Used by the kinds beside it. What DingTalk would refuse is refused here, when the reply is made, so
that its author sees it and not the person who waits.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import StringConstraints as Limits

from dingwire.values import without_surrogates

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_MENTIONS",
    "MAX_PROACTIVE_BYTES",
    "NO_TITLE",
    "TITLE_CHARS",
    "Address",
    "InvalidReplyError",
    "MediaId",
    "Model",
    "PictureAddress",
    "StaffId",
    "Words",
    "check_size",
    "json_size",
]

MAX_BODY_BYTES = 20_000  # of one webhook post, JSON included
MAX_PROACTIVE_BYTES = 15_000  # of ``msgParam``
MAX_MENTIONS = 50
TITLE_CHARS = 60
NO_TITLE = "…"  # a title is required, and some texts are nothing but markup

_ADDRESS_CHARS = 2_000
_SCHEMES = frozenset({"http", "https", "dingtalk", "dtmd"})
_PICTURE_SCHEMES = frozenset({"http", "https"})
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://[^\s<>\"\\]+")
_STAFF_ID = re.compile(r"[^\s\"\\\x00-\x1f\x7f@]+")
_STAFF_ID_BYTES = 64


class InvalidReplyError(ValueError):
    """A reply cannot be made of this; the text names fields and limits, never what they held."""


class Model(BaseModel):
    """A reply, or a piece of one: frozen, and silent about what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    goes_by_webhook: ClassVar[bool] = True
    """Whether a session webhook carries this kind."""

    goes_proactively: ClassVar[bool] = True
    """Whether DingTalk's API has a message of this kind."""

    def __init__(self, **data: Any) -> None:
        """Make it.

        Raises:
            InvalidReplyError: A field holds what DingTalk would refuse.
        """
        try:
            super().__init__(**data)
        except ValidationError as error:
            problem = _problem(type(self).__name__, error)
        else:
            return
        raise InvalidReplyError(problem)

    # Pydantic takes models of a larger one apart by itself then, instead of calling this.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def _problem(name: str, error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    said = [
        f"{'.'.join(map(str, each['loc']))}: {_said(each['msg'])}"
        if each["loc"]
        else _said(each["msg"])
        for each in found
    ]
    return f"{name}: {'; '.join(said)}"


def _said(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _clean(value: object) -> object:
    return without_surrogates(value) if isinstance(value, str) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _address(value: str) -> str:
    found = _ADDRESS.fullmatch(value)
    if found is None or found["scheme"].lower() not in _SCHEMES:
        raise ValueError("must be an address that starts with http://, https:// or dingtalk://")
    return value


def _picture(value: str) -> str:
    if value.startswith("@"):  # a media id
        return _media_id(value)
    found = _ADDRESS.fullmatch(value)
    if found is None or found["scheme"].lower() not in _PICTURE_SCHEMES:
        raise ValueError("must be an address that starts with http:// or https://, or a media id")
    return value


def _media_id(value: str) -> str:
    if re.search(r"[\s()<>\"\\]", value):
        raise ValueError("must be a media id, as the upload returned it")
    return value


def _staff_id(value: str) -> str:
    if not _STAFF_ID.fullmatch(value) or len(value.encode()) > _STAFF_ID_BYTES:
        raise ValueError(f"must be a staff id: up to {_STAFF_ID_BYTES} bytes, without blanks")
    return value


_Clean = BeforeValidator(_clean)

Words = Annotated[str, _Clean, AfterValidator(_not_blank)]
Address = Annotated[str, _Clean, Limits(max_length=_ADDRESS_CHARS), AfterValidator(_address)]
PictureAddress = Annotated[str, _Clean, Limits(max_length=_ADDRESS_CHARS), AfterValidator(_picture)]
MediaId = Annotated[str, _Clean, Field(min_length=1, max_length=500), AfterValidator(_media_id)]
StaffId = Annotated[str, _Clean, AfterValidator(_staff_id)]


def json_size(value: Mapping[str, Any]) -> int:
    """Return the bytes of an object as it is sent: JSON in UTF-8, nothing escaped needlessly."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def check_size(what: str, forms: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what cannot be split and fits by neither or only one way.

    A reply that starts by one way may have to go by the other, so the smaller limit holds.

    Raises:
        ValueError: One of its forms is too large; its size is named.
    """
    size = max(map(json_size, forms))
    if size > MAX_PROACTIVE_BYTES:
        raise ValueError(
            f"{what} is sent in one piece, so it may have {MAX_PROACTIVE_BYTES} bytes of JSON: "
            f"it has {size}"
        )
