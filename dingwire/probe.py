"""What DingTalk says when it is asked whether a bot would work here.

Both ``celery -A worker doctor`` and ``python -m listener --check`` ask. Nothing here sends a
message or opens a Stream connection unless told to. Each question has a time limit, and no answer
shows a secret, a ticket or a token. Source: docs/protocol.md, "Registration", "Throttling" and
"Proactive messages".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from requests.utils import get_environ_proxies, select_proxy
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from dingwire.errors import (
    GatewayError,
    OpenApiError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
    WebhookNotAllowedError,
)
from dingwire.findings import (
    Finding,
    is_nameless,
    missing,
    no_ticket,
    not_dingtalk,
    refused,
    refused_credentials,
)
from dingwire.gateway import measured_offset, register
from dingwire.http import NoAnswer, is_loopback, new_session, post_json
from dingwire.openapi import OpenApiClient
from dingwire.reach import UnreachableError, reach
from dingwire.replies import Text
from dingwire.webhook_hosts import HTTPS_PORT, WebhookHosts

__all__ = [
    "DINGTALK",
    "OF_A_BOT",
    "Bot",
    "Finding",
    "about_dingtalk",
    "about_webhooks",
    "send_test",
]

USER_AGENT = "celery-dingtalk-doctor"
REACH_LIMIT_S = 5.0
CALL_LIMIT_S = (3.05, 5.0)
OPEN_LIMIT_S = 5.0

# What is kept back from a webhook's life for the post itself (contract/deadline.py): a clock that
# is off by more judges a reply wrongly.
SMALL_OFFSET = timedelta(seconds=2)
# No machine that sets its clock by the network is so far off.
LARGE_OFFSET = timedelta(seconds=30)

_PRIVATE_FIX = (
    "if that is your own network, or a proxy makes such addresses up, list the network too, "
    "such as 198.18.0.0/15"
)
STEALS = "a second connection takes messages from the listener while it is open"

# The names of what :func:`about_dingtalk` yields, in its order.
DINGTALK = ("api", "credentials", "clock", "stream")
# Those of them, and of what may come besides, that are another bot's otherwise.
OF_A_BOT = frozenset({"credentials", "stream", "proactive"})


@dataclass(frozen=True)
class Bot:
    """Whom to ask about; credentials that are missing are empty."""

    endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    clock: Callable[[], datetime] = field(repr=False)

    @property
    def has_credentials(self) -> bool:
        """Whether there is something to ask with."""
        return bool(self.client_id and self.client_secret)

    def client(self) -> OpenApiClient:
        """Return a client with short limits."""
        return OpenApiClient(
            endpoint=self.endpoint,
            client_id=self.client_id,
            client_secret=self.client_secret,
            clock=self.clock,
            timeout_s=CALL_LIMIT_S,
        )


def about_dingtalk(
    bot: Bot, *, deep: bool, with_permission: bool = False
) -> Iterator[tuple[str, Finding]]:
    """Yield what :data:`DINGTALK` names, then ``proactive`` when the permission matters.

    Args:
        bot: Whose endpoint and credentials are tried.
        deep: Whether to open a Stream connection and close it again.
        with_permission: Whether to find out if it may send messages unasked.
    """
    rest = ["credentials", "clock", "stream", *(["proactive"] if with_permission else [])]
    api = _api(bot.endpoint)
    yield "api", api
    if api.status == "FAIL":
        for name in rest:
            is_known = name != "credentials" or bot.has_credentials
            yield (
                name,
                Finding("skip", "the API cannot be reached")
                if is_known
                else missing(bot.client_id, bot.client_secret),
            )
        return
    client = bot.client()
    credentials = _credentials(bot, client)
    yield "credentials", credentials
    yield "clock", _clock(bot)
    is_known = credentials.status != "FAIL"
    if not deep:
        yield "stream", Finding("skip", f"{STEALS}; --deep tries it for a moment")
    elif is_known:
        yield "stream", _stream(bot)
    else:
        yield "stream", Finding("skip", "it needs credentials that work")
    if with_permission and is_known:
        yield "proactive", _permission(bot, client)
    elif with_permission:
        yield "proactive", Finding("skip", "it needs credentials that work")
    client.close()


def about_webhooks(hosts: Sequence[str]) -> Finding:
    """Return whether the hosts that session webhooks point to can be reached."""
    if not hosts:
        return Finding.fail(
            "no host is allowed, so no reply can be posted", "unset DINGTALK_WEBHOOK_HOSTS"
        )
    listed, ways = WebhookHosts.parse(hosts), []
    for name, port in sorted(listed.allowed, key=str):
        shown = f"[{name}]" if ":" in name and not name.startswith("[") else name
        scheme = "http" if port is not None and is_loopback(name) else "https"
        address = f"{scheme}://{shown}" + (f":{port}" if port else "")
        try:
            ways.append(reach(address, timeout_s=REACH_LIMIT_S))
            if not select_proxy(address, get_environ_proxies(address)):
                listed.addresses(name, port or HTTPS_PORT)
        except UnreachableError as error:
            return Finding.fail(f"replies cannot be posted: {error}", error.fix)
        except WebhookNotAllowedError as error:
            return Finding.fail(f"replies cannot be posted: {error}", _PRIVATE_FIX)
    return Finding("ok", ", ".join(ways))


def send_test(bot: Bot, staff_id: str, words: str) -> Finding:
    """Send one message to a person, unasked; return what DingTalk said."""
    if not bot.has_credentials:
        return missing(bot.client_id, bot.client_secret)
    client = bot.client()
    try:
        client.send_to_user(bot.client_id, staff_id, Text(content=words))
    except OpenApiError as error:
        # Nothing to come is worth a mere warning: the message was wanted now.
        return replace(refused(error, f"the message to {staff_id} was not sent"), status="FAIL")
    finally:
        client.close()
    return Finding("ok", f"DingTalk took the message to {staff_id}; is it there?")


def _api(endpoint: str) -> Finding:
    try:
        return Finding("ok", reach(endpoint, timeout_s=REACH_LIMIT_S))
    except UnreachableError as error:
        return Finding.fail(str(error), error.fix)


def _credentials(bot: Bot, client: OpenApiClient) -> Finding:
    if not bot.has_credentials:
        return missing(bot.client_id, bot.client_secret)
    try:
        client.check_token()
    except OpenApiUnavailableError as error:
        if error.code == "http 200":  # a page where DingTalk sends JSON
            return not_dingtalk(_host(bot.endpoint), error)
        return Finding.fail(
            f"DingTalk gave no access token: {error.code}, {error.message}".rstrip(", "),
            "try again; a proxy on the way may answer in DingTalk's place",
        )
    except OpenApiError as error:
        if is_nameless(error) and not isinstance(error, OpenApiThrottledError):
            return not_dingtalk(_host(bot.endpoint), error)
        return refused_credentials(error, bot.client_id, bot.client_secret)
    return Finding("ok", f"an access token for {bot.client_id}")


def _host(address: str) -> str:
    return address.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _clock(bot: Bot) -> Finding:
    """Compare clocks by the Date header of an answer, whatever else it says."""
    session = new_session(USER_AGENT)
    before = bot.clock()
    answer = post_json(session, f"{bot.endpoint}/", {}, timeout_s=CALL_LIMIT_S)
    session.close()
    if isinstance(answer, NoAnswer):
        return Finding("skip", f"DingTalk gave no answer to measure by: {answer.reason}")
    half_way = (bot.clock() - before) / 2
    offset = measured_offset(answer.date, before + half_way)
    if offset is None:
        return Finding("skip", "the answer had no Date to measure by")
    seconds = offset.total_seconds()
    # The header counts whole seconds, and the time on the way may have been all on one side.
    if abs(offset) <= SMALL_OFFSET + half_way + timedelta(seconds=0.5):
        return Finding("ok", f"{abs(seconds):.1f} s off DingTalk's, as far as can be measured")
    way = "behind" if seconds > 0 else "ahead of"
    reason = f"this machine's clock is {abs(seconds):.0f} s {way} DingTalk's"
    reason += ": deadlines are judged by that much wrongly"
    fix = "have it set by the network (NTP), here and on every worker"
    return Finding("warn" if abs(offset) <= LARGE_OFFSET else "FAIL", reason, fix)


def _stream(bot: Bot) -> Finding:
    session = new_session(USER_AGENT)
    try:
        registration = register(
            session,
            endpoint=bot.endpoint,
            client_id=bot.client_id,
            client_secret=bot.client_secret,
            user_agent=f"{USER_AGENT}/1",
            timeout_s=OPEN_LIMIT_S,
            clock=bot.clock,
        )
    except GatewayError as error:
        return no_ticket(error)
    finally:
        session.close()
    host = _host(registration.endpoint)
    try:
        with connect(registration.url, open_timeout=OPEN_LIMIT_S, close_timeout=1):
            pass
    except InvalidStatus as error:
        reason = f"{host} refused the WebSocket: HTTP {error.response.status_code}"
        return Finding.fail(reason, "a proxy on the way must let WebSockets pass")
    except (OSError, WebSocketException, ValueError) as error:
        return _no_socket(registration.endpoint, host, error)
    return Finding("ok", f"a ticket, and a WebSocket to {host}, opened and closed")


def _no_socket(endpoint: str, host: str, error: Exception) -> Finding:
    try:
        reach(endpoint, timeout_s=REACH_LIMIT_S)
    except UnreachableError as unreachable:
        return Finding.fail(f"no WebSocket: {unreachable}", unreachable.fix)
    except ValueError:
        return Finding.fail("DingTalk sent an address for the WebSocket that is none", "try again")
    return Finding.fail(
        f"no WebSocket to {host} ({type(error).__name__})",
        "allow egress to it, WebSockets included",
    )


def _permission(bot: Bot, client: OpenApiClient) -> Finding:
    """Ask to send to nobody: DingTalk judges the permission before it misses the receivers."""
    try:
        client.send_to_nobody(bot.client_id)
    except OpenApiError as error:
        if "userid" in error.code.lower():
            return Finding(
                "ok", "permitted, as far as can be seen without a message; --send-test sends one"
            )
        return refused(error, "proactive messages are refused")
    return Finding("warn", "DingTalk took a message to nobody", "--send-test STAFF_ID sends one")
