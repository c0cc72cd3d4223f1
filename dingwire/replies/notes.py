"""A line before a reply, such as an excuse for being late; and what is read of any reply."""

from dingwire.replies.fields import check_size
from dingwire.replies.kept import Reply
from dingwire.replies.links import ActionCard, Link
from dingwire.replies.texts import Markdown, Text

__all__ = ["with_note", "words_of"]


def with_note(reply: Reply, note: str) -> list[Reply]:
    """Return what is sent when ``note`` is to stand before ``reply``.

    In its words where it has any and they leave room, else in a message before it. A part of a
    split reply always leaves room.
    """
    if isinstance(reply, Text):
        return [reply.model_copy(update={"content": f"{note}\n{reply.content}"})]
    if isinstance(reply, Markdown):
        return [reply.model_copy(update={"text": f"{note}\n\n{reply.text}"})]
    if isinstance(reply, Link | ActionCard):
        noted: Link | ActionCard = reply.model_copy(update={"text": f"{note}\n\n{reply.text}"})
        try:
            check_size("", [noted.for_webhook(), noted.closest().for_webhook()])
        except ValueError:
            return [Text(content=note), reply]
        return [noted]
    return [Text(content=note), reply]


def words_of(reply: Reply) -> str:
    """Return what can be read of a reply; of one that is no text, of what is closest to it."""
    closest = reply.closest()
    return closest.content if isinstance(closest, Text) else closest.text
