"""Who may write to the bot? Asked by ``listener/intake.py`` before anything is enqueued."""

from collections.abc import Collection

__all__ = ["EVERYBODY", "is_allowed"]

EVERYBODY = "*"


def is_allowed(staff_id: str | None, allowed_users: Collection[str]) -> bool:
    """Whether a sender is let in.

    Args:
        staff_id: User id inside the bot's organisation; None or empty for an outsider, who is
            let in only with everybody, as nothing else says who he is.
        allowed_users: Staff ids, or ``*``; empty lets nobody in.
    """
    return EVERYBODY in allowed_users or bool(staff_id and staff_id in allowed_users)
