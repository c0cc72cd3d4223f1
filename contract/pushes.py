"""What DingTalk pushes beside chat messages, on its way from the listener to a worker.

The listener writes them (``listener/pushes.py``), the broker carries each as the only argument of
its task, and the store keeps one until it has been handled. A user's handlers get them as they are
(``CARD_ACTION_HANDLER``, ``EVENT_HANDLER``).
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contract.routing import HANDLE_CARD_ACTION, HANDLE_EVENT

__all__ = ["PUSHES", "CardAction", "OrgEvent", "Push", "PushError"]

VERSION = 1


class PushError(ValueError):
    """A task's argument is no push that this release knows; the text shows no values."""


class _Pushed(BaseModel):
    """Frozen, JSON both ways; what a later release adds survives a round trip.

    Fields with ``repr=False``, and those that this release does not know, are private: they are
    sealed, and never shown.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    task: ClassVar[str]
    argument: ClassVar[str]

    version: int = VERSION
    bot: str = Field(description="Whose connection it came by: the client id.")
    client_id: str
    push_id: str = Field(default="", description="The frame's messageId; new for each push.")
    received_at: AwareDatetime = Field(description="On the listener's clock.")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Leave out what came beside the known fields."""
        return ((n, v) for n, v in super().__repr_args__() if n in type(self).model_fields)

    @classmethod
    def clear_fields(cls) -> frozenset[str]:
        """Return the names of the fields that stay in clear when the others are sealed."""
        return frozenset(name for name, field in cls.model_fields.items() if field.repr)

    @property
    def identity(self) -> str:
        """What its task id is derived from, and what operators find it by."""
        raise NotImplementedError

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels as the task's argument."""
        return self.model_dump(mode="json")

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read what :meth:`to_wire` wrote, in this or another release.

        Raises:
            PushError: It is none, or of a later version.
        """
        try:
            push = cls.model_validate(data)
        except ValidationError as error:
            fields = ", ".join(
                f"{'.'.join(map(str, e['loc'])) or cls.argument}: {e['msg']}"
                for e in error.errors(include_input=False, include_url=False)
            )
            raise PushError(f"not a push: {fields}") from None
        if push.version > VERSION:
            raise PushError(f"version {push.version} is newer than {VERSION}: deploy workers first")
        return push


class CardAction(_Pushed):
    """Somebody pressed a button of a card, or sent a form in it.

    ``params`` is what the button carries and what was entered, values of any JSON type. ``user_id``
    is a staff id, unless ``user_id_type`` is 2, then a union id. ``space_id`` is where the card
    hangs, a group's conversation id for one; ``space_type`` is DingTalk's word for what that is.
    ``rest`` is what DingTalk sent and nobody documents.
    """

    task: ClassVar[str] = HANDLE_CARD_ACTION
    argument: ClassVar[str] = "action"

    out_track_id: str = Field(default="", description="The card, as its maker named it.")
    action_ids: tuple[str, ...] = Field(default=(), description="The buttons, by their ids.")
    params: dict[str, Any] = Field(default_factory=dict, repr=False)
    user_id: str = ""
    user_id_type: int = 1
    corp_id: str = ""
    space_id: str = ""
    space_type: str = ""
    rest: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def identity(self) -> str:
        """The push: nothing else tells two clicks of one button apart."""
        return self.push_id


class OrgEvent(_Pushed):
    """Something happened in the organisation, such as ``user_add_org``.

    ``data`` is what DingTalk tells of it, ``born_at`` when it was, on DingTalk's clock.
    """

    task: ClassVar[str] = HANDLE_EVENT
    argument: ClassVar[str] = "event"

    event_id: str = Field(description="The same over redeliveries.")
    event_type: str = ""
    corp_id: str = ""
    born_at: AwareDatetime | None = None
    data: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def identity(self) -> str:
        """The event: DingTalk may push one again."""
        return self.event_id


Push = CardAction | OrgEvent

PUSHES: dict[str, type[CardAction] | type[OrgEvent]] = {
    each.task: each for each in (CardAction, OrgEvent)
}
"""The models by the names of their tasks."""
