"""What an agent returned, as the replies it stands for.

Called by ``worker/asking.py``.
"""

from collections.abc import Sequence
from typing import Any, get_args

from contract.envelope import Conversation, Envelope
from dingwire.replies import InvalidReplyError, Reply, from_agent_text
from dingwire.replies.texts import Mentioning
from worker.agents.runner import AgentFailedError

__all__ = ["addressed", "replies_of"]

_KINDS = get_args(Reply)
_NAME_CHARS = 60


def replies_of(result: Any) -> list[Reply]:
    """Return what ``result`` says, in order; nothing is silence, which is an answer too.

    Args:
        result: Text, a reply, None, or a list or tuple of those. Blank text counts as None.

    Raises:
        AgentFailedError: It is, or holds, something else; its type is named.
    """
    if not isinstance(result, list | tuple):
        return _one(result, "returned")
    found: list[Reply] = []
    for number, each in enumerate(result, start=1):
        found += _one(each, f"returned a {type(result).__name__} whose item {number} is")
    return found


def _one(result: Any, said: str) -> list[Reply]:
    if result is None or (isinstance(result, str) and not result.strip()):
        return []
    if isinstance(result, str):
        return [from_agent_text(result)]
    if isinstance(result, _KINDS):
        return [result]
    raise AgentFailedError(f"{said} {type(result).__name__}, which is neither text nor a reply")


def addressed(replies: Sequence[Reply], envelope: Envelope) -> list[Reply]:
    """Mention the sender of a group's message in the first reply that can mention anybody.

    In a private chat nobody needs it. Somebody without a staff id is named and not mentioned.
    """
    replies = list(replies)
    if envelope.conversation is not Conversation.GROUP:
        return replies
    staff_id, name = envelope.sender_staff_id or "", envelope.sender_nick.strip()[:_NAME_CHARS]
    for number, reply in enumerate(replies):
        if isinstance(reply, Mentioning):
            replies[number] = _at(reply, staff_id, name)
            break
    return replies


def _at(reply: Any, staff_id: str, name: str) -> Reply:
    """Return ``reply`` with the sender first among those it mentions.

    An author who mentions as many as DingTalk tells, or an id that is none, leaves it as it was.
    """
    others = tuple(user for user in reply.at_user_ids if user != staff_id)
    mentions = (staff_id, *others) if staff_id else others
    fields = {name: getattr(reply, name) for name in type(reply).model_fields}
    try:
        made: Reply = type(reply)(**fields | {"at_user_ids": mentions, "addressee": name})
    except InvalidReplyError:
        return reply  # type: ignore[no-any-return]
    return made
