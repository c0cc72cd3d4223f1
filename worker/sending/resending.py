"""Sends a kept answer after all, by the best way that leads to its conversation now.

Called by ``celery -A worker late send``, and by ``worker/answering.py`` for an answer that an
operator had made anew. It runs no agent, and decides nothing about the message's record.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from contract.envelope import Envelope
from contract.sealing import Sealer, SealError
from dingwire.errors import OpenApiError, WebhookError
from dingwire.replies import Reply, with_note
from worker.sending.carrying import About, Carrier, Route
from worker.sending.handover import mark_of
from worker.sending.parts import parts_of, uuid_of
from worker.store import Lease, Limit, Step
from worker.timing import is_over
from worker.words import Language

__all__ = ["InDoubtError", "NotSentError", "Resender", "RouteStore", "Sent"]


@dataclass(frozen=True)
class Sent:
    """All of it arrived.

    ``parts`` is how many it has, ``by_message_id`` whose webhook carried the last, when it was a
    later message's.
    """

    route: Route
    parts: int
    by_message_id: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a story tells of it."""
        by = {"by_message_id": self.by_message_id} if self.by_message_id else {}
        return {"route": self.route.value, "parts": self.parts, **by}


class NotSentError(Exception):
    """No way took the whole of it.

    Attributes:
        passed: Each way in a few words, with what was in its way.
        sent: How many parts have arrived by now.
        errcode: DingTalk's, from the last webhook that gave one.
    """

    def __init__(self, passed: Sequence[str], sent: int, errcode: int | None = None) -> None:
        super().__init__(tuple(passed), sent, errcode)
        self.passed, self.sent, self.errcode = tuple(passed), sent, errcode

    def __str__(self) -> str:
        return f"no way leads to its conversation: {'; '.join(self.passed)}"


class InDoubtError(NotSentError):
    """A post was cut off, so the part after the ``sent`` ones may have arrived or not."""

    def __str__(self) -> str:
        return f"it may have arrived: {self.passed[-1]}"


class RouteStore(Protocol):
    """The part of :class:`worker.store.Store` that sending needs."""

    def sending(
        self,
        lease: Lease,
        *,
        sent: int,
        steps: Sequence[Step] = (),
        limits: Sequence[Limit] = (),
    ) -> float:
        """Note that a part is about to be posted, if it may be."""

    def route(self, bot: str, conversation_id: str) -> dict[str, Any] | None:
        """Return what leads to a conversation."""


@dataclass(frozen=True)
class _Way:
    """One route, ready to take parts."""

    name: str
    post: Callable[[Reply, str, About], Route]
    by_message_id: str | None = None


@dataclass
class _Parcel:
    """What is left to send."""

    lease: Lease
    parts: Sequence[Reply]
    sent: int
    note: str
    uuid: str
    passed: list[str] = field(default_factory=list)
    errcode: int | None = None

    @property
    def pieces(self) -> list[Reply]:
        """The next part; the first one that is sent says what it answers."""
        part = self.parts[self.sent]
        return with_note(part, self.note) if self.note else [part]

    @property
    def part_uuid(self) -> str:
        """The same on every attempt, and the same that the first delivery used."""
        return uuid_of(self.uuid, self.sent, len(self.parts))

    def went(self) -> None:
        """Go on to the part behind."""
        self.sent, self.note = self.sent + 1, ""


class Resender:
    """Chooses the way and sends; safe to share between threads."""

    def __init__(
        self,
        store: RouteStore,
        *,
        carrier: Carrier,
        clock: Callable[[], datetime],
        sealer: Sealer,
        language_of: Callable[[Envelope], Language] = lambda _: "both",
    ) -> None:
        """Prepare.

        Args:
            store: Knows the later webhooks of a conversation.
            carrier: Knows how to reach a conversation.
            clock: Ours.
            sealer: Opens a webhook that is kept sealed.
            language_of: Of the mark that says which question is answered.
        """
        self._language_of = language_of
        self._store = store
        self._carrier = carrier
        self._clock, self._sealer = clock, sealer

    def send(
        self,
        lease: Lease,
        envelope: Envelope,
        replies: Sequence[Reply],
        *,
        sent: int = 0,
        mark: bool = True,
        again: bool = False,
    ) -> Sent:
        """Send the parts that are left: by its own webhook, a later one, or proactively.

        A way that says no is followed by the next; a post of which the outcome is not known is
        followed by none.

        Args:
            lease: Ours, and kept alive by the caller.
            envelope: In clear.
            replies: The kept answer, in clear.
            sent: How many of its parts have arrived before.
            mark: Whether to say which question it answers.
            again: Whether it has arrived before as a whole; DingTalk is not to take this one for
                a copy then.

        Raises:
            InDoubtError: It may have arrived.
            NotSentError: It has not arrived as a whole; how much has, is noted in the store.
            LeaseLostError: Somebody else has the message.
        """
        parcel = _Parcel(
            lease,
            parts_of(replies),
            sent,
            note=self._mark(envelope) if mark else "",
            uuid=f"{lease.task_id}-{lease.token}" if again else lease.task_id,
        )
        for way in self._ways(envelope, parcel.passed):
            route = self._goes_by(way, parcel)
            if route is not None:
                return Sent(route, len(parcel.parts), way.by_message_id)
        raise NotSentError(parcel.passed, parcel.sent, parcel.errcode)

    def _mark(self, envelope: Envelope) -> str:
        return mark_of({"text": envelope.text}, self._language_of(envelope))

    def _goes_by(self, way: _Way, parcel: _Parcel) -> Route | None:
        """Send by one way; return how the last part went, None when it takes no more."""
        # Told once a way: why it and no better one.
        passed = list(parcel.passed)
        send = partial(self._store.sending, parcel.lease)

        def about(route: Route, because: str, limits: Sequence[Limit]) -> float:
            facts: dict[str, Any] = {"part": parcel.sent + 1, "of": len(parcel.parts)}
            facts["route"] = route.value
            if why := "; ".join([*passed, because] if because else passed):
                facts["because"] = why
            wait_s = send(sent=parcel.sent, steps=[Step("sending", facts)], limits=limits)
            if not wait_s:
                passed.clear()
            return wait_s

        def about_notice(_route: Route, _because: str, limits: Sequence[Limit]) -> float:
            return send(sent=parcel.sent, limits=limits)

        route = None
        try:
            while parcel.sent < len(parcel.parts):
                *before, part = parcel.pieces
                for notice in before:
                    way.post(notice, f"{parcel.part_uuid}-note", about_notice)
                route = way.post(part, parcel.part_uuid, about)
                parcel.went()
        except (WebhookError, OpenApiError) as error:
            parcel.passed.append(f"{way.name}: {error}")
            parcel.errcode = getattr(error, "errcode", None) or parcel.errcode
            if getattr(error, "ambiguous", False):
                raise InDoubtError(parcel.passed, parcel.sent, parcel.errcode) from None
            return None
        return route

    def _ways(self, envelope: Envelope, passed: list[str]) -> Iterator[_Way]:
        """Yield what may be tried, best first; what may not is added to ``passed``."""
        tried = None
        if envelope.session_webhook is None:
            passed.append("it came without a webhook")
        elif is_over(envelope, self._clock()):
            passed.append("its own webhook is over")
        else:
            tried = envelope.session_webhook
            yield self._by_webhook("its own webhook", envelope, tried)
        later = self._later(envelope, passed)
        if later is not None and later[0] != tried:
            yield self._by_webhook("a later webhook", envelope, *later)
        obstacle = self._carrier.obstacle(envelope)
        if obstacle:
            passed.append(obstacle)
        else:
            yield self._proactively(envelope)

    def _later(self, envelope: Envelope, passed: list[str]) -> tuple[str, str] | None:
        """Return the webhook of the conversation's last message, and that message's id.

        Of the same bot and conversation, and of no other: an answer given in private would
        otherwise be read by a group.
        """
        route = None
        if envelope.conversation_id:
            route = self._store.route(envelope.bot, envelope.conversation_id)
        if route is None or route.get("message_id") == envelope.message_id:
            passed.append("no later message has a webhook that lives")
            return None
        try:
            webhook = self._sealer.unseal(route).get("session_webhook")
        except SealError as error:
            passed.append(f"the webhook of a later message is {error}")
            return None
        if not webhook:
            passed.append("no later message has a webhook that lives")
            return None
        return str(webhook), str(route.get("message_id", ""))

    def _by_webhook(
        self, name: str, envelope: Envelope, url: str, by_message_id: str | None = None
    ) -> _Way:
        def post(part: Reply, uuid: str, about: About) -> Route:
            return self._carrier.post(url, envelope, part, uuid=uuid, about=about)

        return _Way(name, post, by_message_id)

    def _proactively(self, envelope: Envelope) -> _Way:
        def post(part: Reply, uuid: str, about: About) -> Route:
            about(Route.PROACTIVE, "", ())
            self._carrier.send(envelope, part, uuid=uuid)
            return Route.PROACTIVE

        return _Way("a proactive message", post)
