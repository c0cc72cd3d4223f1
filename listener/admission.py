"""Who may talk to the bot, and where? Asked before anything is enqueued.

``listener/intake.py`` asks it of chat messages, ``listener/pushes.py`` of card buttons.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["EVERYBODY", "Admission", "Denial", "is_allowed"]

EVERYBODY = "*"


class Denial(StrEnum):
    """Why somebody is not let in; the word in the log and the metrics."""

    GROUP = "group"  # whoever writes there
    SENDER = "sender"


def is_allowed(staff_id: str | None, allowed_users: Collection[str]) -> bool:
    """Whether a sender is let in.

    Args:
        staff_id: User id inside the bot's organisation; None or empty for an outsider, who is
            let in only with everybody, as nothing else says who he is.
        allowed_users: Staff ids, or ``*``; empty lets nobody in.
    """
    return EVERYBODY in allowed_users or bool(staff_id and staff_id in allowed_users)


@dataclass(frozen=True)
class Admission:
    """The rule of one bot.

    Args:
        users: Staff ids, or ``*``; empty lets nobody in.
        groups: Conversation ids, or ``*``; empty is every group.
        group_users: By conversation id, who may write in that group, instead of ``users``. A group
            that is named here is allowed.
    """

    users: Collection[str]
    groups: Collection[str] = ()
    group_users: Mapping[str, Collection[str]] = field(default_factory=dict)

    def denial(
        self, staff_id: str | None, conversation_id: str, *, is_group: bool
    ) -> Denial | None:
        """Return why this person is not let in here; None for who is."""
        own = self.group_users.get(conversation_id) if conversation_id else None
        if is_group and own is None and not self._is_open(conversation_id):
            return Denial.GROUP
        users = self.users if own is None else own
        return None if is_allowed(staff_id, users) else Denial.SENDER

    def _is_open(self, conversation_id: str) -> bool:
        return not self.groups or EVERYBODY in self.groups or conversation_id in self.groups
