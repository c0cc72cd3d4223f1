"""Replies as the store keeps them: JSON, both ways."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from dingwire.replies.card import Card
from dingwire.replies.links import ActionCard, FeedCard, Link
from dingwire.replies.media import Audio, File, Image, Media, Video
from dingwire.replies.texts import Markdown, Text

__all__ = ["Reply", "replies_from_json", "replies_to_json"]

Reply = Text | Markdown | Link | ActionCard | FeedCard | Image | File | Audio | Video | Card
_Kept = Annotated[Reply, Field(discriminator="kind")]
_ONE: TypeAdapter[Reply] = TypeAdapter(_Kept)
_SEVERAL: TypeAdapter[list[Reply]] = TypeAdapter(Annotated[list[_Kept], Field(min_length=1)])

_NOTHING: tuple[object, ...] = (None, "", False, [], {})


def replies_to_json(replies: Sequence[Reply]) -> str:
    """Return the JSON text that :func:`replies_from_json` reads.

    One reply is kept as the object that earlier releases know, several as a list.

    Raises:
        ValueError: There is none, or one has content that was not uploaded.
    """
    if not replies:
        raise ValueError("no reply to keep")
    if any(_has_content(reply) for reply in replies):
        raise ValueError("upload it first: content is not kept")
    kept = [_object(reply) for reply in replies]
    return json.dumps(kept[0] if len(kept) == 1 else kept, ensure_ascii=False)


def _object(reply: Reply) -> dict[str, Any]:
    """Return its fields, those that hold nothing left out."""
    fields = reply.model_dump(mode="json")
    return {name: value for name, value in fields.items() if value not in _NOTHING}


def _has_content(reply: Reply) -> bool:
    if not isinstance(reply, Media):
        return False
    return not reply.is_uploaded or (isinstance(reply, Video) and not reply.cover.is_uploaded)


def replies_from_json(raw: str | bytes) -> list[Reply]:
    """Read a kept answer; fields that a later release added are left out.

    Raises:
        ValueError: It is none; the text does not show it.
    """
    is_list = raw.lstrip()[:1] in ("[", b"[")
    try:
        if is_list:
            return _SEVERAL.validate_json(raw, extra="ignore")
        return [_ONE.validate_json(raw, extra="ignore")]
    except ValidationError:
        problem = "not a kept answer: expected JSON of a reply, or of a list of them"
    raise ValueError(problem)
