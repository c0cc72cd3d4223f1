"""How long until the next message of a conversation starts, once the one before it is answered?

``python -m bench.turns [--broker redis|rabbitmq|embedded] [--count N]``: a burst in one
conversation, through the Procfile's listener and two workers, and beside it messages one at a time
for comparison: what a message takes from the listener to the agent when nothing is in its way.
Timing on a busy machine is noisy; compare the two rows of one run.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dingwire.simulator import SimulatorThread
from dingwire.simulator.records import Message
from tests.acceptance.deployment import Deployment
from tests.servers import rabbitmq, redis

AGENT = """
import os, time
FILE = os.environ["OBEDIENT_AGENT_FOLDER"] + "/starts"
def agent(message):
    with open(FILE, "a") as file:
        file.write(f"{message.message_id} {time.time_ns() // 1_000_000}\\n")
    return "ok"
"""


@contextlib.contextmanager
def broker_url(name: str, folder: Path) -> Iterator[str]:
    """Start the broker; the embedded one needs none."""
    if name == "redis":
        with redis(folder) as url:
            yield url
    elif name == "rabbitmq":
        with rabbitmq(folder) as url:
            yield url
    else:
        yield "embedded://"


def _starts(deployment: Deployment) -> dict[str, int]:
    file = deployment.gates / "starts"
    lines = file.read_text().splitlines() if file.exists() else []
    return {id_: int(at_ms) for id_, at_ms in (line.split() for line in lines)}


def _one_at_a_time(deployment: Deployment, count: int) -> list[int]:
    said: list[Message] = []
    for _ in range(count):
        message = deployment.simulator.say("hello", "quiet")
        deployment.simulator.until_answered(message, 30)
        said.append(message)
        time.sleep(0.02)
    starts = _starts(deployment)
    return [starts[m.message_id] - m.created_at_ms for m in said]


def _burst(deployment: Deployment, count: int) -> list[int]:
    said = [deployment.simulator.say("hello", "chatterbox") for _ in range(count)]
    deployment.until_answered(said, limit_s=300)
    starts = _starts(deployment)
    ends = [r.at_ms for r in deployment.accepted(said)]
    return [starts[after.message_id] - end for after, end in zip(said[1:], ends, strict=False)]


def _row(what: str, times_ms: list[int]) -> str:
    cuts = statistics.quantiles(times_ms, n=20)
    return f"{what:44} {statistics.median(times_ms):6.0f} {cuts[18]:6.0f} {max(times_ms):6.0f}"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", choices=["redis", "rabbitmq", "embedded"], default="redis")
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as server,
        broker_url(options.broker, Path(server)) as url,
        SimulatorThread() as simulator,
    ):
        place = Path(folder)
        (place / "timed_agent.py").write_text(AGENT)
        store = url if options.broker == "redis" else ""
        deployment = Deployment(
            simulator, place, broker_url=url, store_url=store, with_web=False,
            BROKER_URL=url, AGENT="timed_agent:agent",
        )  # fmt: skip
        deployment.environment["PYTHONPATH"] += f":{place}"
        deployment.environment["STORE_URL"] = deployment.store_url
        try:
            deployment.release()
            deployment.start()
            alone = _one_at_a_time(deployment, options.count // 4)
            in_turn = _burst(deployment, options.count)
        finally:
            deployment.stop()
    print(f"{options.broker}, {options.count} messages in one conversation, 2 workers; ms")
    print(f"{'':44} {'p50':>6} {'p95':>6} {'max':>6}")
    print(_row("written -> agent starts, nobody before it", alone))
    print(_row("predecessor answered -> agent starts", in_turn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
