"""When nobody takes anything over, in ``sql.py``: for a while after the store was away.

During an outage all leases run out, and their owners are about to renew them. So when nobody has
swept for half a lease, nothing is taken over for the length of one.
"""

from sqlalchemy import ColumnElement, Connection, select, update

from worker.store.schema import sweep

__all__ = ["LEAST_GAP_MS", "grace_until"]

LEAST_GAP_MS = 1_000


def grace_until(
    connection: Connection, now: ColumnElement[int], hold_ms: int, *, is_sweep: bool
) -> int | None:
    """Return until when nothing is taken over; None when everything may be.

    Args:
        connection: In a transaction.
        now: The store's clock.
        hold_ms: The length of a lease.
        is_sweep: Whether this is a sweep itself, to be noted.
    """
    gap_ms = max(hold_ms // 2, LEAST_GAP_MS)
    found = connection.execute(select(sweep, now.label("now_ms")).with_for_update()).one()
    now_ms, until = int(found.now_ms), int(found.grace_until)
    was_away = found.swept_at > 0 and now_ms - found.swept_at > gap_ms
    if was_away:
        until = now_ms + hold_ms
    if was_away or is_sweep:
        connection.execute(update(sweep).values(swept_at=now_ms, grace_until=until))
    return until if now_ms < until else None
