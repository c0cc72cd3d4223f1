"""What a fault is; ``faults.py`` and ``outages.py`` define them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from tests.chaos.judging import Allowed
from tests.chaos.scene import Scene

__all__ = ["BROKERS", "Fault"]

BROKERS = ("redis", "rabbitmq", "embedded")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Fault:
    """Something that goes wrong for a while; one instance a cell.

    Attributes:
        name: In the table and for ``--only``.
        lasts_s: From :meth:`strike` to :meth:`heal`; messages come in all the while.
        ends_at_once: Recovery is counted from the strike, as nothing more is needed to recover.
        cuts_socket: Recovery is not over before there is a new connection.
        side_by_side: So many people write at a time, each of them twice.
        quiet_s: How long nothing more must happen after the last answer, to be sure that no
            second one comes.
        limit_s: The whole cell may take so long.
        not_for: Brokers for which the fault makes no sense, with the reason.
        variables: Of all processes.
        variables_of: Of one process.
        switches: Of the simulator, from the start.
    """

    name: ClassVar[str]
    lasts_s: ClassVar[float] = 4.0
    ends_at_once: ClassVar[bool] = False
    cuts_socket: ClassVar[bool] = False
    side_by_side: ClassVar[int] = 1
    quiet_s: ClassVar[float] = 8.0
    limit_s: ClassVar[float] = 120.0
    not_for: ClassVar[Mapping[str, str]] = _NOTHING
    variables: Mapping[str, str] = _NOTHING
    variables_of: Mapping[str, Mapping[str, str]] = _NOTHING
    switches: Mapping[str, Any] = _NOTHING
    worker_options: str = ""
    listeners: int = 1
    stops_broker: bool = False
    stops_store: bool = False
    allowed: Allowed = Allowed()

    def prepare(self) -> None:
        """Make ready what the deployment needs; before it starts."""

    def strike(self, scene: Scene) -> None:
        """Begin."""
        raise NotImplementedError

    def heal(self, scene: Scene) -> None:
        """End it: as an operator, a process manager or time would.

        It is over when this returns, or when it said so before by ``scene.over()``.
        """

    def clean_up(self) -> None:
        """Undo :meth:`prepare`; after everything has stopped."""

    def text(self, token: str) -> str:
        """Return what a person writes in this cell."""
        return f"{token} please"
