"""Stories in ``sql.py``: how a statement goes on with one."""

from sqlalchemy import ColumnElement, String, case, cast, func, literal

from worker.store.records import STORY_LIMIT
from worker.store.schema import messages

__all__ = ["begun", "told"]

_m = messages.c


def begun(now: ColumnElement[int], steps: str) -> ColumnElement[str]:
    """Return the beginning of a story; ``steps`` as packed by ``records.pack_steps``."""
    if not steps:
        return literal("")
    return literal("[").concat(cast(now, String)).concat(f",{steps}],")


def told(
    now: ColumnElement[int], steps: str, *, is_last: bool = False
) -> dict[str, ColumnElement[str]]:
    """Return the values of an update that goes on with the story; none without steps.

    A story that is too long is not gone on with, save with its end (``is_last``).
    """
    if not steps:
        return {}
    longer = _m.steps.concat(begun(now, steps))
    if is_last:
        return {"steps": longer}
    return {"steps": case((func.length(_m.steps) < STORY_LIMIT, longer), else_=_m.steps)}
