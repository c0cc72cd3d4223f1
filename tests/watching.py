"""What Flower would see: the events of every worker on a broker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

__all__ = ["watching"]


@contextmanager
def watching(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """Yield the events, a list that grows; it listens before anything in the block happens."""
    seen: list[dict[str, Any]] = []
    ready, stop = threading.Event(), threading.Event()

    def watch() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (receiving, _, _):
                ready.set()
                while not stop.is_set():
                    try:
                        receiving.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert ready.wait(60)
        yield seen
    finally:
        stop.set()
        watcher.join(60)
