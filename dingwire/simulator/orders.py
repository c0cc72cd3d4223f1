"""What a test orders the simulator to do to its bots: the troubles of every face.

``server`` builds :class:`~dingwire.simulator.server.Simulator` on it.
"""

from typing import Any

from dingwire.simulator.access import Access
from dingwire.simulator.faults import Faults, ReplyFault
from dingwire.simulator.filestore import File
from dingwire.simulator.gateway import Credentials, Gateway
from dingwire.simulator.journal import as_json
from dingwire.simulator.observed import Observed
from dingwire.simulator.records import Message, Push
from dingwire.simulator.refusals import ApiFault
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.world import World

__all__ = ["Orders"]


class Orders(Observed):
    """Switches, scripted faults and what happens to connections, sessions, tokens and codes."""

    def __init__(self, world: World, credentials: Credentials) -> None:
        self._gateway = Gateway(world, credentials)
        super().__init__(world, Switchboard(world, self._gateway), Access(world, credentials))

    async def raw(self, frame: str | bytes, connection_id: str | None = None) -> int:
        """Send a frame as it is to one connection or all; returns to how many."""
        lines = self._switchboard.select(connection_id)
        for line in lines:
            line.send(frame)
        return len(lines)

    async def disconnect(self, connection_id: str | None = None) -> None:
        """Recycle one connection, or all: frame, no more pushes, cut later."""
        for line in self._switchboard.select(connection_id):
            self._switchboard.disconnect(line)

    async def drop(self, connection_id: str | None = None) -> None:
        """Cut one connection, or all, without a word."""
        for line in self._switchboard.select(connection_id):
            line.kill()

    async def redeliver(self, message: Message | str) -> list[Push]:
        """Push a message again, as after a missed ack: a new push id, the same ``msgId``.

        Args:
            message: Its record or its id.

        Returns:
            The pushes; none when no connection takes them.

        Raises:
            ValueError: If there is no such message.
        """
        message_id = message if isinstance(message, str) else message.message_id
        known = self.world.journal.messages.get(message_id)
        if known is None:
            raise ValueError("the message is not known")
        robots: list[str | None] = [*known.robots] or [None]
        pushes = [self._switchboard.push_message(known, to=robot) for robot in robots]
        self.world.journal.changed("message", known)
        return [each for each in pushes if each is not None]

    async def set_connection(self, state: str, connection_id: str | None = None) -> None:
        """Make connections ``mute``, ``half_open`` or ``open`` again."""
        if state not in ("open", "mute", "half_open"):
            raise ValueError(f"a connection is open, mute or half_open, not {state!r}")
        for line in self._switchboard.select(connection_id):
            self._switchboard.set_state(line, state)

    async def switch(self, **switches: Any) -> None:
        """Move switches of :class:`~dingwire.simulator.faults.Faults`."""
        self.world.faults = self.world.faults.changed(**switches)
        self._faults_changed()

    async def fail_registrations(self, *modes: str) -> None:
        """Let the next registrations meet these values of the ``registration`` switch."""
        for mode in modes:
            Faults(registration=mode)
        self._gateway.scripted.extend(modes)
        self._faults_changed()

    async def fail_replies(
        self, times: int | None = 1, conversation: str | None = None, **fault: Any
    ) -> None:
        """Let the next replies meet a fault; see :class:`~dingwire.simulator.faults.ReplyFault`.

        Args:
            times: How many replies; ``None`` for all until :meth:`heal_replies`.
            conversation: A conversation's id, a group's name or a staff id; any when ``None``.
            fault: Members of ``ReplyFault``.
        """
        conversation_id = None
        if conversation is not None:
            found = self.world.find_conversation(conversation)
            known = found or self.world.private_chat(conversation)
            conversation_id = known.conversation_id
        self.world.reply_faults.append(
            ReplyFault(times=times, conversation_id=conversation_id, **fault)
        )
        self._faults_changed()

    async def heal_replies(self) -> None:
        """Forget all scripted reply faults."""
        self.world.reply_faults.clear()
        self._faults_changed()

    async def expire_session(self, conversation: str) -> None:
        """End a conversation's sessions now, whatever its webhook's expiry said."""
        found = self.world.find_conversation(conversation)
        for session in found.sessions.values() if found is not None else ():
            session.expires_at_ms = self.world.now_ms()
        if found is not None:
            found.expired_at_ms = self.world.now_ms()
            self._faults_changed()

    async def invalidate_tokens(self, client_id: str | None = None) -> None:
        """Make access tokens worthless before their time: one bot's, or all."""
        self._access.tokens.invalidate(client_id)

    async def fail_api(self, path: str = "*", times: int | None = 1, **fault: Any) -> None:
        """Let the next OpenAPI calls meet a fault.

        Args:
            path: The API's path; a final ``*`` stands for any end.
            times: How many calls; ``None`` for all until :meth:`heal_api`.
            fault: Members of :class:`~dingwire.simulator.refusals.ApiFault`.
        """
        self._access.faults.append(ApiFault(path=path, times=times, **fault))
        self._faults_changed()

    def api_faults(self) -> list[dict[str, Any]]:
        """The scripted API faults and how often each was met."""
        return [as_json(each) for each in self._access.faults]

    async def heal_api(self) -> None:
        """Forget all scripted API faults."""
        self._access.faults.clear()
        self._faults_changed()

    def reply_faults(self) -> list[dict[str, Any]]:
        """The scripted reply faults and how often each was met."""
        return [as_json(each) for each in self.world.reply_faults]

    def registration_faults(self) -> list[str]:
        """What the next registrations will meet."""
        return list(self._gateway.scripted)

    async def expire_codes(self) -> None:
        """End every download code now."""
        self.world.files.expire_codes()

    def file(
        self,
        content: bytes,
        name: str,
        *,
        media_type: str = "",
        duration_ms: int = 4000,
    ) -> File:
        """A file that people can send: ``say("", kind="picture", file=...)``."""
        return File(content, name, media_type, duration_ms)

    def download_code(self, file: File, robot: str | None = None) -> str:
        """A download code for a payload of your own, good for one robot code or for any."""
        robots = None if robot is None else {robot}
        life_s = self.world.faults.download_code_ttl_s
        return self.world.files.code(file, robots=robots, life_s=life_s)

    def _faults_changed(self) -> None:
        self.world.journal.changed("faults", {})
