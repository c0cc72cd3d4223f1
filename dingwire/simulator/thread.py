"""The simulator in a background thread, for tests that have no event loop of their own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

from dingwire.simulator.bot_records import Click, Event
from dingwire.simulator.filestore import File
from dingwire.simulator.records import Message, Push
from dingwire.simulator.server import Simulator
from dingwire.simulator.thread_views import ThreadViews

__all__ = ["SimulatorThread"]

T = TypeVar("T")
START_LIMIT_S = 60.0
CALL_LIMIT_S = 60.0


class SimulatorThread(ThreadViews):
    """:class:`Simulator` behind plain calls; ``with SimulatorThread(...) as simulator``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Simulator(**options))
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

    def click(
        self,
        card: str,
        action_id: str = "",
        person: str = "alice",
        params: Mapping[str, Any] | None = None,
    ) -> Click:
        """See :meth:`Simulator.click`."""
        return self.call(self.simulator.click(card, action_id, person, params))

    def push_event(self, event_type: str, data: Any = None, to: str | None = None) -> Event:
        """See :meth:`Simulator.push_event`."""
        return self.call(self.simulator.push_event(event_type, data, to))

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

    def redeliver(self, message: Message | str) -> list[Push]:
        """See :meth:`Simulator.redeliver`."""
        return self.call(self.simulator.redeliver(message))

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

    def invalidate_tokens(self, client_id: str | None = None) -> None:
        """See :meth:`Simulator.invalidate_tokens`."""
        self.call(self.simulator.invalidate_tokens(client_id))

    def expire_codes(self) -> None:
        """See :meth:`Simulator.expire_codes`."""
        self.call(self.simulator.expire_codes())

    def fail_api(self, path: str = "*", times: int | None = 1, **fault: Any) -> None:
        """See :meth:`Simulator.fail_api`."""
        self.call(self.simulator.fail_api(path, times, **fault))

    def heal_api(self) -> None:
        """See :meth:`Simulator.heal_api`."""
        self.call(self.simulator.heal_api())

    def heal(self) -> None:
        """See :meth:`Simulator.heal`."""
        self.call(self.simulator.heal())

    def reset(self) -> None:
        """See :meth:`Simulator.reset`."""
        self.call(self.simulator.reset())

    def until(
        self,
        predicate: Callable[[Simulator], object],
        timeout_s: float = 60.0,
        what: str = "the condition",
    ) -> None:
        """See :meth:`Simulator.until`; the predicate runs in the simulator's thread."""
        self.call(self.simulator.until(predicate, timeout_s, what), timeout_s + CALL_LIMIT_S)

    def until_connected(self, count: int = 1, timeout_s: float = 60.0) -> None:
        """See :meth:`Simulator.until_connected`."""
        self.call(self.simulator.until_connected(count, timeout_s), timeout_s + CALL_LIMIT_S)

    def until_answered(self, message: Message, timeout_s: float = 60.0) -> str:
        """See :meth:`Simulator.until_answered`."""
        work = self.simulator.until_answered(message, timeout_s)
        return self.call(work, timeout_s + CALL_LIMIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        # Requests that were cut off, a page's feed for one, end before their loop does.
        cut_off = asyncio.all_tasks(self._loop)
        for task in cut_off:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*cut_off, return_exceptions=True))
        self._loop.close()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT_S)
