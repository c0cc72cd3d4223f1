"""``LOG_LEVEL=DEBUG``: more is said, and still nothing that is private."""

import time

from dingwire.simulator import SimulatorThread
from tests.acceptance.conftest import redis_database
from tests.acceptance.deployment import CLIENT_SECRET, MARKER, Deployment


def test_debug_logs_tell_nothing_private(redis_url, tmp_path):
    url = redis_database(redis_url, 13)
    with SimulatorThread() as simulator:
        deployment = Deployment(
            simulator,
            tmp_path,
            broker_url=url,
            store_url=url,
            workers=["one"],
            REDIS_URL=url,
            LOG_LEVEL="DEBUG",
        )
        try:
            deployment.release()
            deployment.start()
            person = f"retried-{time.monotonic_ns()}"
            simulator.fail_replies(1, person, status=500)
            said = [deployment.say("hello"), deployment.say("hello", person)]
            failed = deployment.say("raise: an error")
            refused = deployment.say(
                "hello", sessionWebhook="https://elsewhere.example/x?session=s"
            )
            deployment.until_answered(said)
            deployment.until_state(failed, "FAILURE")
            deployment.until_state(refused, "FAILURE")
            deployment.processes["worker-one"].terminate(20)
        finally:
            deployment.stop()

    logs = deployment.logs()
    sessions = {m.session_webhook.rpartition("=")[2] for m in [*said, failed, refused]}
    assert '"level": "DEBUG"' in logs
    for private in (MARKER, CLIENT_SECRET, "sendBySession", "elsewhere.example/x", *sessions):
        assert private not in logs
