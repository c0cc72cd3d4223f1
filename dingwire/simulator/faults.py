"""The switches of the simulator: how this DingTalk departs from a good day.

Everybody reads :class:`Faults`; only the server replaces it, as a whole, by :meth:`Faults.changed`.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

__all__ = ["Faults", "FaultsError", "ReplyFault"]

CHOICES: dict[str, frozenset[str]] = {
    "registration": frozenset(
        {"ok", "auth_failed", "bad_request", "bad_request_html", "qps", "unavailable"}
        | {"no_endpoint", "no_ticket", "stream_off"}
    ),
    "pushes": frozenset({"all", "private", "none"}),
    "distribution": frozenset({"random", "round_robin", "newest"}),
    "token": frozenset({"ok", "refused", "ip_refused", "unavailable"}),
    "proactive": frozenset({"ok", "permission", "qps", "count_limit"}),
    "storage": frozenset(
        {"ok", "redirect", "html", "unavailable", "oversize", "slow", "truncated"}
    ),
    "upload_token": frozenset({"any", "old", "new"}),
}


class FaultsError(ValueError):
    """A switch does not exist, or was given a value it does not have."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Every switch with its default: DingTalk as documented. Zero seconds or counts mean "off"."""

    clock_skew_s: float = 0.0

    registration: str = "ok"
    registration_delay_s: float = 0.0
    xml_without_accept: bool = False
    stream_url: str = ""  # told to clients instead of our own /connect

    ticket_ttl_s: float = 90.0
    ticket_reuse: bool = False
    ticket_reject_status: int = 401

    pushes: str = "all"
    distribution: str = "random"
    max_connections: int = 0
    ping_first_s: float = 0.5
    ping_every_s: float = 30.0
    ping_misses_before_drop: int = 0
    answer_ws_pings: bool = True
    disconnect_after_s: float = 0.0
    disconnect_frame: bool = True
    disconnect_reason: str = "persistent connection is timeout"
    disconnect_close_s: float = 10.0
    disconnect_close_code: int = 0  # 0: the TCP connection dies without a close frame

    queue_until_connected: bool = False
    redeliver_after_s: float = 0.0
    redeliver_times: int = 1
    redeliver_acked: bool = False

    strings_for_numbers: bool = False
    without_staff_id: bool = False
    without_text: bool = False
    quota_used_up: bool = False
    extra_fields: bool = False

    session_ttl_s: float = 5400.0
    session_per_message: bool = False
    session_single_use: bool = False
    session_gone_errcode: int = 300001
    session_gone_status: int = 200

    reply_delay_s: float = 0.0
    reply_rate_limit: int = 0  # per conversation in 60 s; DingTalk's number is 20
    reply_throttle_s: float = 600.0
    errcode_as_string: bool = False
    honour_msg_uuid: bool = False
    banned_words: tuple[str, ...] = ()
    unsafe_links: tuple[str, ...] = ()

    token: str = "ok"  # noqa: S105 - a mode, not a token
    token_ttl_s: float = 7200.0
    proactive: str = "ok"
    flow_controlled: tuple[str, ...] = ()
    image_by_media_id: bool = True  # sources disagree whether photoURL may be one
    emotion_race: int = 0  # calls per message that come before the message is ready for them
    emotion_names: tuple[str, ...] = ()  # the only ones accepted, when there are any

    card_templates: tuple[str, ...] = ()  # the only ones there are, when there are any
    card_refusing_spaces: tuple[str, ...] = ()  # conversation ids and staff ids
    card_value_max: int = 0  # bytes of a parameter; the documents say 1 KB
    stream_content_max: int = 0  # characters of a streaming call; the documents say 1 K
    stream_full_only: bool = False
    card_ack_s: float = 2.0
    card_qps: int = 0

    event_ack_s: float = 3.0
    event_retry_s: float = 10.0
    event_retries: int = 2

    api_qps: int = 0  # per app and API; DingTalk's number is 20
    api_qpm: int = 0
    api_quota: int = 0  # calls per app

    download_code_ttl_s: float = 3600.0
    download_url_ttl_s: float = 600.0
    storage: str = "ok"
    storage_url: str = ""  # told to bots instead of our own address
    storage_redirect: str = "http://127.0.0.1:1/"
    storage_content_type: str = ""  # instead of the file's own
    storage_oversize_bytes: int = 32 * 1024 * 1024
    storage_pause_s: float = 1.0
    upload_token: str = "any"  # noqa: S105 - a mode, not a token

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            value = _coerced(each.name, getattr(self, each.name), hints[each.name])
            object.__setattr__(self, each.name, value)

    @classmethod
    def described(cls) -> dict[str, dict[str, Any]]:
        """What each switch takes: ``kind`` (flag, seconds, number, choice, text or list)."""
        hints = get_type_hints(cls)
        return {
            each.name: {"kind": _kind(each.name, hints[each.name])}
            | ({"choices": sorted(CHOICES[each.name])} if each.name in CHOICES else {})
            for each in fields(cls)
        }

    def changed(self, **switches: Any) -> "Faults":
        """A copy with some switches moved.

        Raises:
            FaultsError: If a switch is unknown or its value is of the wrong kind.
        """
        unknown = sorted(set(switches) - {each.name for each in fields(self)})
        if unknown:
            raise FaultsError(f"the simulator has no switch named {', '.join(unknown)}")
        return replace(self, **switches)


@dataclass(kw_only=True)
class ReplyFault:
    """What the next replies meet instead of ``ok``.

    A reply that hangs or is reset was accepted first, unless ``accept`` is False: the sender
    cannot know, which is the point. One that gets an errcode or a status was not, unless ``accept``
    is True.

    Attributes:
        times: How many replies meet it; ``None`` means all, until cleared.
        conversation_id: Only replies to this conversation; ``None`` means any.
        errcode: Answer this code with ``status``.
        status: HTTP status; 500 and above are answered as a bare error page.
        hang_s: Seconds before the answer.
        reset: Cut the TCP connection instead of answering.
        accept: Whether the reply reached the chat all the same; None is as said above.
    """

    times: int | None = 1
    conversation_id: str | None = None
    errcode: int = 0
    errmsg: str = "simulated failure"
    status: int = 200
    hang_s: float = 0.0
    reset: bool = False
    accept: bool | None = None
    met: int = field(default=0, init=False)

    @property
    def refuses(self) -> bool:
        """Whether the reply stays out of the chat."""
        if self.accept is not None:
            return not self.accept
        return self.errcode != 0 or self.status != 200

    def applies_to(self, conversation_id: str) -> bool:
        """Whether a reply to this conversation meets the fault now."""
        is_left = self.times is None or self.met < self.times
        return is_left and self.conversation_id in (None, conversation_id)


def _kind(name: str, hint: Any) -> str:
    if name in CHOICES:
        return "choice"
    return {bool: "flag", float: "seconds", int: "number", str: "text"}.get(hint, "list")


def _coerced(name: str, value: Any, kind: Any) -> Any:
    """The value in the switch's own type; JSON brings ints for floats and lists for tuples."""
    wrong = FaultsError(f"switch {name} cannot be {value!r}")
    if kind is float and type(value) in (int, float):
        if value < 0 and name != "clock_skew_s":
            raise wrong
        return float(value)
    if kind is int and type(value) is int and value >= 0:
        return value
    if kind in (bool, str) and type(value) is kind:
        if name in CHOICES and value not in CHOICES[name]:
            raise FaultsError(f"switch {name} is one of {', '.join(sorted(CHOICES[name]))}")
        return value
    is_list = get_args(kind) and isinstance(value, list | tuple)
    if is_list and all(type(each) is str for each in value):
        return tuple(value)
    raise wrong
