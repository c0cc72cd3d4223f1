"""The simulator in a background thread, for tests that have no event loop of their own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from dingwire.simulator.faults import Faults
from dingwire.simulator.filestore import File
from dingwire.simulator.records import (
    Ack,
    ApiCall,
    Connection,
    Message,
    ProactiveSend,
    Push,
    Registration,
    Reply,
    Upload,
)
from dingwire.simulator.server import Simulator

__all__ = ["SimulatorThread"]

T = TypeVar("T")
START_LIMIT_S = 10.0
CALL_LIMIT_S = 60.0


class SimulatorThread:
    """:class:`Simulator` behind plain calls; ``with SimulatorThread(...) as simulator``."""

    def __init__(self, **options: Any) -> None:
        self.simulator = Simulator(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread and listen.

        Raises:
            OSError: If the port is taken.
        """
        self._thread.start()
        try:
            self.call(self.simulator.start())
        except OSError:
            self._end_thread()
            raise

    def stop(self) -> None:
        """Cut every connection and end the thread."""
        self.call(self.simulator.stop())
        self._end_thread()

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float = CALL_LIMIT_S) -> T:
        """Run a coroutine of :attr:`simulator` in its thread and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    @property
    def endpoint(self) -> str:
        """See :attr:`Simulator.endpoint`."""
        return self.simulator.endpoint

    @property
    def webhook_host(self) -> str:
        """See :attr:`Simulator.webhook_host`."""
        return self.simulator.webhook_host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.simulator.port

    @property
    def faults(self) -> Faults:
        """The switches as they are."""
        return self.simulator.faults

    @property
    def registrations(self) -> list[Registration]:
        """See :attr:`Simulator.registrations`."""
        return self._look(lambda it: list(it.registrations))

    @property
    def tickets_seen(self) -> list[str]:
        """See :attr:`Simulator.tickets_seen`."""
        return self._look(lambda it: list(it.tickets_seen))

    @property
    def connections(self) -> list[Connection]:
        """See :attr:`Simulator.connections`."""
        return self._look(lambda it: list(it.connections))

    @property
    def live_connections(self) -> list[Connection]:
        """See :attr:`Simulator.live_connections`."""
        return self._look(lambda it: it.live_connections)

    @property
    def pushes(self) -> list[Push]:
        """See :attr:`Simulator.pushes`."""
        return self._look(lambda it: it.pushes)

    @property
    def acks(self) -> list[Ack]:
        """See :attr:`Simulator.acks`."""
        return self._look(lambda it: list(it.acks))

    @property
    def message_acks(self) -> list[Ack]:
        """See :attr:`Simulator.message_acks`."""
        return self._look(lambda it: it.message_acks)

    @property
    def messages(self) -> list[Message]:
        """See :attr:`Simulator.messages`."""
        return self._look(lambda it: it.messages)

    @property
    def replies(self) -> list[Reply]:
        """See :attr:`Simulator.replies`."""
        return self._look(lambda it: list(it.replies))

    @property
    def accepted(self) -> list[Reply]:
        """See :attr:`Simulator.accepted`."""
        return self._look(lambda it: it.accepted)

    @property
    def proactive(self) -> list[ProactiveSend]:
        """See :attr:`Simulator.proactive`."""
        return self._look(lambda it: list(it.proactive))

    @property
    def lost(self) -> list[Message]:
        """See :attr:`Simulator.lost`."""
        return self._look(lambda it: it.lost)

    @property
    def token_calls(self) -> int:
        """See :attr:`Simulator.token_calls`."""
        return self.simulator.token_calls

    @property
    def api_calls(self) -> list[ApiCall]:
        """See :attr:`Simulator.api_calls`."""
        return self._look(lambda it: list(it.api_calls))

    @property
    def uploads(self) -> list[Upload]:
        """See :attr:`Simulator.uploads`."""
        return self._look(lambda it: list(it.uploads))

    def uploaded(self, media_id: str) -> bytes:
        """See :meth:`Simulator.uploaded`."""
        return self._look(lambda it: it.uploaded(media_id))

    def file(self, content: bytes, name: str, **more: Any) -> File:
        """See :meth:`Simulator.file`."""
        return self.simulator.file(content, name, **more)

    def download_code(self, file: File, robot: str | None = None) -> str:
        """See :meth:`Simulator.download_code`."""
        return self._look(lambda it: it.download_code(file, robot))

    def say(
        self,
        text: str,
        person: str = "alice",
        group: str | bool | None = None,
        **more: Any,
    ) -> Message:
        """See :meth:`Simulator.say`."""
        return self.call(self.simulator.say(text, person, group, **more))

    def push(self, topic: str, data: str = "{}", kind: str = "CALLBACK") -> Push | None:
        """See :meth:`Simulator.push`."""
        return self.call(self.simulator.push(topic, data, kind))

    def raw(self, frame: str | bytes, connection_id: str | None = None) -> int:
        """See :meth:`Simulator.raw`."""
        return self.call(self.simulator.raw(frame, connection_id))

    def disconnect(self, connection_id: str | None = None) -> None:
        """See :meth:`Simulator.disconnect`."""
        self.call(self.simulator.disconnect(connection_id))

    def drop(self, connection_id: str | None = None) -> None:
        """See :meth:`Simulator.drop`."""
        self.call(self.simulator.drop(connection_id))

    def set_connection(self, state: str, connection_id: str | None = None) -> None:
        """See :meth:`Simulator.set_connection`."""
        self.call(self.simulator.set_connection(state, connection_id))

    def switch(self, **switches: Any) -> None:
        """See :meth:`Simulator.switch`."""
        self.call(self.simulator.switch(**switches))

    def fail_registrations(self, *modes: str) -> None:
        """See :meth:`Simulator.fail_registrations`."""
        self.call(self.simulator.fail_registrations(*modes))

    def fail_replies(
        self, times: int | None = 1, conversation: str | None = None, **fault: Any
    ) -> None:
        """See :meth:`Simulator.fail_replies`."""
        self.call(self.simulator.fail_replies(times, conversation, **fault))

    def heal_replies(self) -> None:
        """See :meth:`Simulator.heal_replies`."""
        self.call(self.simulator.heal_replies())

    def expire_session(self, conversation: str) -> None:
        """See :meth:`Simulator.expire_session`."""
        self.call(self.simulator.expire_session(conversation))

    def invalidate_tokens(self) -> None:
        """See :meth:`Simulator.invalidate_tokens`."""
        self.call(self.simulator.invalidate_tokens())

    def expire_codes(self) -> None:
        """See :meth:`Simulator.expire_codes`."""
        self.call(self.simulator.expire_codes())

    def fail_api(self, path: str = "*", times: int | None = 1, **fault: Any) -> None:
        """See :meth:`Simulator.fail_api`."""
        self.call(self.simulator.fail_api(path, times, **fault))

    def heal_api(self) -> None:
        """See :meth:`Simulator.heal_api`."""
        self.call(self.simulator.heal_api())

    def reset(self) -> None:
        """See :meth:`Simulator.reset`."""
        self.call(self.simulator.reset())

    def until(
        self,
        predicate: Callable[[Simulator], object],
        timeout_s: float = 10.0,
        what: str = "the condition",
    ) -> None:
        """See :meth:`Simulator.until`; the predicate runs in the simulator's thread."""
        self.call(self.simulator.until(predicate, timeout_s, what), timeout_s + CALL_LIMIT_S)

    def until_connected(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """See :meth:`Simulator.until_connected`."""
        self.call(self.simulator.until_connected(count, timeout_s), timeout_s + CALL_LIMIT_S)

    def until_answered(self, message: Message, timeout_s: float = 10.0) -> str:
        """See :meth:`Simulator.until_answered`."""
        work = self.simulator.until_answered(message, timeout_s)
        return self.call(work, timeout_s + CALL_LIMIT_S)

    def counters(self) -> dict[str, int]:
        """See :meth:`Simulator.counters`."""
        return self._look(lambda it: it.counters())

    def _look(self, read: Callable[[Simulator], T]) -> T:
        async def look() -> T:
            return read(self.simulator)

        return self.call(look())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT_S)
