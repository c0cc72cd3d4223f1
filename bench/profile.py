"""Where the time goes: py-spy on our processes in the middle of a burst, by parts of the way.

``python -m bench.profile [listener|worker]`` on Redis. A part's share is that of samples that held
the interpreter's lock; processor time is that of the whole process, kernel included. Figures of one
run, and slower than without a profiler: read shares.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.contenders import OURS, contenders
from bench.place import Place

__all__ = ["main", "shares"]

# From the innermost frame on, the first that fits names the part.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "listener": (
        ("log lines", "(logging/"),
        ("log lines", "(contract/log.py"),
        ("publishing", "(listener/redis_publisher.py"),
        ("publishing", "(listener/redis_connection.py"),
        ("publishing thread, rest", "Enqueuer._run "),
        ("websocket", "(websockets/"),
        ("frame and message", "(dingwire/"),
        ("envelope and task", "(listener/translate.py"),
        ("envelope and task", "(listener/task_message.py"),
        ("envelope and task", "(contract/"),
        ("taking in, order, acks", "(listener/"),
        ("event loop", "(asyncio/"),
    ),
    "worker": (
        ("log lines", "(logging/"),
        ("log lines", "(contract/log.py"),
        ("events for Flower", "(celery/events/"),
        ("events for Flower", "_flush_events"),
        ("store: three scripts", "RedisOperator._run"),
        ("post to the webhook", "WebhookClient.post"),
        ("agent and its hand-over", "AgentRunner.run"),
        ("our steps of a message", "Answering.work"),
        ("Celery in the pool's thread", "apply_target"),
        ("messages from Redis: kombu", "(kombu/transport/"),
        ("messages from Redis: kombu", "(contract/redis_broker.py"),
        ("Celery in the main thread", "(celery/"),
        ("Celery in the main thread", "(worker/running/"),
    ),
}
BURST, CONVERSATIONS, SECONDS, PER_S = 4000, 500, 6, 250


def shares(process: str, lines: Iterable[str]) -> Counter[str]:
    """Sort samples into parts, from py-spy's raw format: frames, then how often."""
    found = Counter[str]()
    for line in lines:
        frames, _, times = line.rpartition(" ")
        found[_part(PARTS[process], frames.split(";"))] += int(times)
    return found


def _part(parts: Sequence[tuple[str, str]], frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for name, pattern in parts:
            if pattern in frame:
                return name
    return "rest"


def _measure(process: str) -> tuple[Counter[str], float]:
    """Return the shares, and the processor time of a message in ms."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Place(Path(folder), rounds=1) as place,
        place.load() as load,
    ):
        ours = next(each for each in contenders(place, load, "redis") if each.name == OURS)
        is_worker = process == "worker"
        with (
            ours.working(place, workers=2 if is_worker else 0) as workers,
            ours.listening(place) as listener,
        ):
            load.until_connected(ours.bot)
            # Warm, and with what the profiler takes to attach.
            load.give(ours.bot, 200, conversations=50, wants_replies=is_worker)
            watched = workers[0] if is_worker else listener
            raw = Path(folder) / "profile"
            command = [
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                "--gil",
                "--rate",
                str(PER_S),
                "--format",
                "raw",
            ]
            command += ["--duration", str(SECONDS), "--output", str(raw)]
            profiler = subprocess.Popen(
                [*command, "--pid", str(watched.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(0.5)
            each_s = sum(w.cpu_s() for w in workers) if is_worker else listener.cpu_s()
            load.give(ours.bot, BURST, conversations=CONVERSATIONS, wants_replies=is_worker)
            after_s = sum(w.cpu_s() for w in workers) if is_worker else listener.cpu_s()
            profiler.wait(SECONDS + 30)
            found = shares(process, raw.read_text(encoding="utf-8").splitlines())
    return found, (after_s - each_s) * 1000 / BURST


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile", description=__doc__.splitlines()[0]
    )
    parser.add_argument("process", nargs="*", choices=[*PARTS], default=[*PARTS])
    for process in parser.parse_args().process:
        found, cpu_ms = _measure(process)
        samples = sum(found.values())
        print(f"\n| {process}: {cpu_ms:.2f} ms of processor time a message | share |\n|---|---|")
        for name, count in found.most_common():
            print(f"| {name} | {count / samples:.0%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
