"""Who is measured: ours and the peers, each as the processes that its operator would start."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.load import Load
from bench.place import Place, Running
from tests.node_sdk import installed
from tests.processes import ROOT

__all__ = ["CELERY", "IN_PROCESS", "NODE", "OURS", "Contender", "contenders"]

OURS = "ours"
IN_PROCESS, CELERY, NODE = "(a)", "(b)", "(c)"


@dataclass(frozen=True)
class Contender:
    """One of them, on one broker; ``bot`` is the client id it comes with."""

    name: str
    bot: str
    line: str  # of the process with the socket
    environment: Mapping[str, str]
    worker_line: str = ""

    @contextmanager
    def listening(self, place: Place) -> Iterator[Running]:
        """Run the process with the socket; the caller waits until it is connected."""
        with place.running(self.line, **self.environment) as process:
            yield process

    @contextmanager
    def working(self, place: Place, *, workers: int) -> Iterator[list[Running]]:
        """Run so many processes that answer, if those are others."""
        if self.name == OURS:
            with ExitStack() as running:
                starting = [place.worker(self.environment) for _ in range(workers)]
                yield [running.enter_context(each) for each in starting]
        elif not self.worker_line:
            yield []
        else:
            line = f"{self.worker_line} --concurrency {workers}"
            with place.running(line, **self.environment) as process:
                process.until_logged(" ready.")
                yield [process]


def contenders(place: Place, load: Load, broker: str) -> list[Contender]:
    """Return ours, and the peers that there are on a broker; those without one go with Redis."""
    url = place.broker(broker)
    its = {
        "DINGTALK_CLIENT_SECRET": "a-secret-that-nobody-knows",
        "DINGTALK_OPENAPI_ENDPOINT": load.endpoint,
    }
    store_url = "" if broker == "embedded" else place.broker("redis")
    ours = place.environment(load, url, store_url=store_url, bot=f"ours-{broker}")
    found = [Contender(OURS, f"ours-{broker}", "python -m listener", ours)]
    if broker != "embedded":  # which nobody else can use
        bot = f"celery-{broker}"
        found.append(
            Contender(
                CELERY,
                bot,
                "python -m bench.peers.sdk_celery_bot",
                {**its, "BROKER_URL": url, "DINGTALK_CLIENT_ID": bot},
                "celery -A bench.peers.sdk_celery_tasks worker --loglevel INFO",
            )
        )
    if broker == "redis":
        found.append(
            Contender(
                IN_PROCESS,
                "in-process",
                "python -m bench.peers.sdk_in_process",
                {**its, "DINGTALK_CLIENT_ID": "in-process"},
            )
        )
        script = ROOT / "bench" / "peers" / "node_in_process.cjs"
        line = f"node {script} {installed()} {load.endpoint} node"
        found.append(Contender(NODE, "node", line, its))
    return found
