"""What the doctor says of queues when others it asks say nothing."""

from concurrent.futures import Future

from contract.broker import Broker
from contract.checks import Status
from contract.routing import QUEUES
from worker.doctor.queues import check_queues


def test_a_store_that_does_not_answer_is_no_fault_of_the_brokers(tmp_path, monkeypatch):
    for name in QUEUES:
        (tmp_path / "broker" / "queues" / name).mkdir(parents=True)
    monkeypatch.setattr("worker.doctor.queues.NOTES_LIMIT_S", 0.05)

    check = check_queues(Broker.from_url("embedded://", tmp_path), Future())

    assert check.status is Status.SKIP
    assert check.reason == (
        "all 5 are there, 0 waiting; whether a worker takes from them is not known: the store does "
        "not answer"
    )
    assert "BROKER_URL" not in check.fix
