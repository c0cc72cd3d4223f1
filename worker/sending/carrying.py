"""Carries one part of an answer to its conversation, by the way that its kind can go.

Used by ``delivery.py``, ``late.py`` and ``resending.py``, which decide when and how often. A
session webhook costs nothing and needs no rights, so what it can carry goes by it; pictures, files
and cards go by DingTalk's API. What neither carries is sent as what is closest to it, and logged.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from contract.envelope import Conversation, Envelope
from dingwire.cards import Cards, in_group, in_private
from dingwire.errors import OpenApiError, OpenApiRefusedError
from dingwire.openapi import Method
from dingwire.replies import Card, Reply
from worker.sending.pacing import Pacing
from worker.sending.simpler import simpler
from worker.store import Limit
from worker.words import Language

__all__ = ["About", "Carrier", "Proactive", "ProactiveOf", "Route", "Webhook", "log_degraded"]

logger = logging.getLogger(__name__)


class Route(StrEnum):
    """By what a part goes out."""

    WEBHOOK = "webhook"
    PROACTIVE = "proactive"


About = Callable[[Route, str, Sequence[Limit]], float]
"""Told before each try which way it goes, and what was in the way of a better one, if anything.

Notes that in the store, if the limits let it; returns for how long they do not, as
:meth:`worker.store.Store.sending` does.
"""


class Webhook(Protocol):
    """The part of :class:`dingwire.webhook.WebhookClient` that is used here."""

    def post(self, url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        """Post, or raise a :class:`WebhookError`."""


class Proactive(Protocol):
    """The part of :class:`dingwire.openapi.OpenApiClient` that is used here."""

    def send_to_user(self, robot_code: str, staff_id: str, reply: Reply) -> str:
        """Send to one person; return DingTalk's key of the message."""

    def send_to_group(self, robot_code: str, conversation_id: str, reply: Reply) -> str:
        """Send to one group; return DingTalk's key of the message."""

    def call(
        self, method: Method, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call an API."""


ProactiveOf = Callable[[Envelope], Proactive | None]
"""Returns the API of a message's own bot; None without its credentials."""


class Carrier:
    """Knows both ways; safe to share between threads."""

    def __init__(
        self,
        webhook: Webhook,
        proactive_of: ProactiveOf,
        pacing: Pacing,
        *,
        language_of: Callable[[Envelope], Language] = lambda _: "both",
    ) -> None:
        """Prepare.

        Args:
            webhook: Posts, and refuses a host that is not allowed.
            proactive_of: Finds the API of the bot that a message was written to.
            pacing: Knows when a webhook may be posted to.
            language_of: Of the words for what cannot be sent as it is.
        """
        self._language_of = language_of
        self._webhook, self._proactive_of, self._pacing = webhook, proactive_of, pacing

    def post(
        self,
        url: str,
        envelope: Envelope,
        part: Reply,
        *,
        uuid: str,
        about: About,
        waits_for: Callable[[OpenApiError], bool] = lambda _: True,
    ) -> Route:
        """Send by a webhook, or by the API what no webhook carries.

        Args:
            url: A session webhook of the conversation, of this message or a later one.
            envelope: Names the conversation.
            part: What to send.
            uuid: The same on every attempt.
            about: Told which way it goes.
            waits_for: Whether to wait for an API that failed like this, rather than to send by the
                webhook what is closest: the parts behind this one wait as well.

        Returns:
            The way it went.

        Raises:
            WebhookError: See :class:`dingwire.webhook.WebhookClient`.
            PacedError: Nothing was posted, it is not its time yet.
            OpenApiError: The API may take it later. One that says no is not raised: the part goes
                by the webhook then, as what is closest to it.
        """
        because = ""
        if not part.goes_by_webhook:
            because = self.obstacle(envelope)
            if not because:
                about(Route.PROACTIVE, "", ())
                try:
                    self._send(envelope, part, uuid)
                except OpenApiError as error:
                    if not isinstance(error, OpenApiRefusedError) and waits_for(error):
                        raise
                    because = str(error)
                else:
                    return Route.PROACTIVE
            log_degraded(part, envelope, because)
            part = simpler(part, self._language_of(envelope))
        self._pacing.wait(envelope, lambda limits: about(Route.WEBHOOK, because, limits))
        with self._pacing.heeding(envelope):
            self._webhook.post(url, part, msg_uuid=uuid)
        return Route.WEBHOOK

    def send(self, envelope: Envelope, part: Reply, *, uuid: str) -> None:
        """Send by the API, for a conversation without a webhook that lives.

        Called only when :meth:`obstacle` finds none. What DingTalk refuses is sent as what is
        closest to it, in case it was the kind that was refused.

        Raises:
            OpenApiError: See :class:`dingwire.openapi.OpenApiClient`.
        """
        if not part.goes_proactively:
            log_degraded(part, envelope, "only a webhook carries it")
            part = simpler(part, self._language_of(envelope))
        try:
            self._send(envelope, part, uuid)
        except OpenApiRefusedError as error:
            closest = simpler(part, self._language_of(envelope))
            if closest == part:
                raise
            log_degraded(part, envelope, str(error))
            self._send(envelope, closest, uuid)

    def obstacle(self, envelope: Envelope) -> str:
        """Return why the API cannot reach the conversation; empty when it can."""
        if self._proactive_of(envelope) is None:
            return "a proactive message needs DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
        if envelope.conversation is Conversation.GROUP:
            return "" if envelope.conversation_id else "a proactive message needs the group's id"
        if not envelope.sender_staff_id:
            return "a proactive message needs the sender's staff id, which is not known"
        return ""

    def notify(self, envelope: Envelope, words: Reply) -> None:
        """Post by the message's own webhook what is no answer.

        Raises:
            WebhookError: See :class:`dingwire.webhook.WebhookClient`.
            PacedError: Nothing was posted, it is not its time yet.
        """
        self._pacing.wait_unnoted(envelope)
        with self._pacing.heeding(envelope):
            self._webhook.post(envelope.session_webhook or "", words)

    def _send(self, envelope: Envelope, part: Reply, uuid: str) -> None:
        proactive, staff_id = self._proactive_of(envelope), envelope.sender_staff_id or ""
        if proactive is None:
            raise OpenApiRefusedError("no credentials")
        is_group = envelope.conversation is Conversation.GROUP
        if isinstance(part, Card):
            place = (
                in_group(envelope.bot, envelope.conversation_id)
                if is_group
                else in_private(envelope.bot, staff_id)
            )
            # One of this name is there already when an earlier attempt arrived after all.
            Cards(proactive).create(
                uuid, template_id=part.template_id, place=place, values=part.values
            )
        elif is_group:
            proactive.send_to_group(envelope.bot, envelope.conversation_id, part)
        else:
            proactive.send_to_user(envelope.bot, staff_id, part)


def log_degraded(reply: Reply, envelope: Envelope, why: str) -> None:
    """Say that people get less than the agent gave, in the closest form there is."""
    logger.warning(
        "a reply is sent in a simpler form: %s",
        why,
        extra={
            "action": "reply_degraded",
            "message_id": envelope.message_id,
            "conversation_id": envelope.conversation_id,
            "kind": reply.kind,
            "reason": why,
        },
    )
