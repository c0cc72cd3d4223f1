"""Print the resident memory of listener, worker and Flower before and after 200 messages.

``python scripts/memory.py [BROKER_URL [STORE_URL]]``; the embedded broker and SQLite when nothing
is named. Needs the simulator and psutil, hence the development install. Runs the Procfile's lines
as they are, with the echo agent, against a simulator of its own.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dingwire.simulator import SimulatorThread  # noqa: E402
from tests.acceptance.deployment import Deployment  # noqa: E402

MESSAGES, CONVERSATIONS = 200, 20
MIB = 1024 * 1024


def resident_mb(deployment: Deployment) -> dict[str, float]:
    """Return the resident memory of each line's processes, in MiB."""
    return {
        name: sum(p.memory_info().rss for p in process.members()) / MIB
        for name, process in deployment.processes.items()
    }


def main() -> None:
    """Measure, and print one line a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker_url", nargs="?", default="embedded://")
    parser.add_argument("store_url", nargs="?", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SimulatorThread() as simulator:
        variables = {"BROKER_URL": arguments.broker_url, "STORE_URL": arguments.store_url}
        deployment = Deployment(
            simulator,
            Path(folder),
            broker_url=arguments.broker_url,
            store_url=arguments.store_url,
            workers=["one"],
            AGENT="worker.agents.echo:agent",
            **{name: value for name, value in variables.items() if value},
        )
        try:
            deployment.release()
            deployment.start()
            before = resident_mb(deployment)
            said = [
                simulator.say(f"hello {number}", f"person {number % CONVERSATIONS}")
                for number in range(MESSAGES)
            ]
            deployment.until_answered(said, limit_s=60)
            after = resident_mb(deployment)
        finally:
            deployment.stop()
    print(f"{'process':12} {'started':>10} {f'after {MESSAGES}':>10}")
    for name in before:
        print(f"{name:12} {before[name]:7.1f} MB {after[name]:7.1f} MB")


if __name__ == "__main__":
    main()
