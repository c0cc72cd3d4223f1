"""Faults of DingTalk, and of the network between it and us; played by the simulator."""

from types import MappingProxyType

from tests.chaos.fault import Fault
from tests.chaos.judging import Allowed
from tests.chaos.scene import Scene, paced

__all__ = [
    "Gateway401",
    "Gateway503",
    "HalfOpenSocket",
    "PoliteDisconnect",
    "Redelivery",
    "SocketDrop",
    "Webhook5xx",
    "Webhook130101",
    "Webhook300001",
    "WebhookBusy",
    "WebhookHang",
]

POSTS = 10
# Closer together, a pair that comes through two sockets would measure the race that the docs
# describe, and not the fault.
FAR_APART = 15
HANG_S = 13.0  # a post is given up after 10 s


class SocketDrop(Fault):
    """The Stream socket is cut without a close frame."""

    name = "socket-drop"
    ends_at_once = cuts_socket = True
    allowed = Allowed(never_acked=None)
    lasts_s = 2.0

    def strike(self, scene: Scene) -> None:
        scene.simulator.drop()

    def heal(self, scene: Scene) -> None:
        scene.simulator.until_connected(timeout_s=60)


class PoliteDisconnect(Fault):
    """DingTalk recycles both connections, one after the other, twice."""

    name = "polite-disconnect"
    side_by_side = FAR_APART
    variables = MappingProxyType({"CONNECTIONS": "2"})

    def strike(self, scene: Scene) -> None:
        def recycle(_: int) -> None:
            # Not before the last one has been replaced: DingTalk recycles them hours apart.
            self._until_both(scene)
            living = [c for c in scene.simulator.live_connections if c.state == "open"]
            scene.simulator.disconnect(living[0].connection_id)

        paced(1.5, recycle, 4)

    def heal(self, scene: Scene) -> None:
        self._until_both(scene)

    def _until_both(self, scene: Scene) -> None:
        scene.simulator.until(
            lambda s: sum(c.state == "open" for c in s.live_connections) >= 2,
            20,
            "both connections",
        )


class HalfOpenSocket(Fault):
    """The socket stays open, but nothing comes through it any more."""

    name = "half-open-socket"
    ends_at_once = cuts_socket = True
    variables = MappingProxyType({"SILENCE_LIMIT_S": "3"})
    switches = MappingProxyType({"ping_every_s": 1.0})
    allowed = Allowed(never_acked=None)

    def strike(self, scene: Scene) -> None:
        scene.simulator.set_connection("half_open")

    def heal(self, scene: Scene) -> None:
        scene.simulator.until(
            lambda s: any(c.state == "open" for c in s.live_connections), 60, "a new connection"
        )


class _Gateway(Fault):
    cuts_socket = True
    allowed = Allowed(never_acked=None)
    registration = ""

    def strike(self, scene: Scene) -> None:
        scene.simulator.switch(registration=self.registration)
        scene.simulator.drop()

    def heal(self, scene: Scene) -> None:
        asked = scene.simulator.registrations
        if not any(r.status != 200 for r in asked):
            scene.complain("the listener did not ask the gateway meanwhile")
        scene.simulator.switch(registration="ok")
        scene.over()
        scene.simulator.until_connected(timeout_s=90)


class Gateway503(_Gateway):
    """The socket is cut, and the gateway answers 503 for a while."""

    name = "gateway-503"
    registration = "unavailable"


class Gateway401(_Gateway):
    """The socket is cut, and the gateway refuses the credentials for a while."""

    name = "gateway-401"
    allowed = Allowed(never_acked=None, recovery_s=70)  # refused credentials wait for a minute
    registration = "auth_failed"
    limit_s = 150.0


class _Replies(Fault):
    def heal(self, scene: Scene) -> None:
        met = sum(not (r.status == 200 and r.errcode == 0) for r in scene.simulator.replies)
        if not met:
            scene.complain("no reply met the fault")
        scene.simulator.heal_replies()


class Webhook5xx(_Replies):
    """Ten replies reach the chat behind a 502; then every webhook answers 503 for a while."""

    name = "webhook-5xx"
    allowed = Allowed(doubled=POSTS)

    def strike(self, scene: Scene) -> None:
        scene.simulator.fail_replies(POSTS, status=502, accept=True)
        scene.simulator.fail_replies(None, status=503)


class WebhookHang(Fault):
    """Ten replies reach the chat, but their webhooks do not answer for 13 s."""

    name = "webhook-hang"
    allowed = Allowed(doubled=POSTS)
    quiet_s = HANG_S + 3

    def strike(self, scene: Scene) -> None:
        scene.simulator.fail_replies(POSTS, hang_s=HANG_S)

    def heal(self, scene: Scene) -> None:
        scene.simulator.heal_replies()


class WebhookBusy(_Replies):
    """Every webhook answers errcode -1 (system busy) for a while."""

    name = "webhook-busy"

    def strike(self, scene: Scene) -> None:
        scene.simulator.fail_replies(None, errcode=-1, errmsg="system busy")


class Webhook130101(_Replies):
    """Ten replies are answered 130101 (sent too fast)."""

    name = "webhook-130101"
    allowed = Allowed(recovery_s=90)
    limit_s = 180.0  # a throttled reply waits for a minute

    def strike(self, scene: Scene) -> None:
        scene.simulator.fail_replies(POSTS, errcode=130101, errmsg="send too fast")


class Webhook300001(_Replies):
    """Ten replies are answered 300001: their session is over, nothing can be posted to it."""

    name = "webhook-300001"
    allowed = Allowed(missed=POSTS)

    def strike(self, scene: Scene) -> None:
        scene.simulator.fail_replies(POSTS, errcode=300001, errmsg="session 不存在")


class Redelivery(Fault):
    """Every message is pushed three times under new push ids, to either of two listeners."""

    name = "redelivery"
    side_by_side = FAR_APART
    ends_at_once = True
    listeners = 2

    def strike(self, scene: Scene) -> None:
        scene.simulator.switch(redeliver_after_s=0.05, redeliver_times=2, redeliver_acked=True)

    def heal(self, scene: Scene) -> None:
        if len(scene.simulator.message_acks) <= len(scene.simulator.messages):
            scene.complain("nothing came twice")
        scene.simulator.switch(redeliver_after_s=1.0)
