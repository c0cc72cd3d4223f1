"""What people see of a message that no worker has is cleared away by who stops it."""

from datetime import timedelta

import pytest

from contract.envelope import Envelope
from contract.routing import task_id
from dingwire.errors import WebhookBusyError
from tests.unit.worker.answering_parts import LEASE_S, START, Desk, envelope
from tests.unit.worker.thinking_parts import RECALL, RecordingApi
from worker.leases import Heartbeat
from worker.patience import PatientStore
from worker.running.stopping_parts import build_stopping
from worker.settings import WorkerSettings
from worker.stopping import Stopped
from worker.thinking import Shown

STOP = envelope(message_id="stop", created_at=START + timedelta(seconds=9))


class OneBot:
    """As much of the bots as is asked."""

    def __init__(self, api: RecordingApi) -> None:
        self._api = api

    def shown_of(self, _envelope: Envelope) -> Shown:
        return Shown("reaction")

    def openapi_of(self, _envelope: Envelope) -> RecordingApi:
        return self._api


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def api() -> RecordingApi:
    return RecordingApi()


@pytest.fixture
def stopping(desk, api):
    return build_stopping(
        WorkerSettings.model_construct(lease_s=LEASE_S, envelope_key=None),
        PatientStore(desk.store, desk.published.append),
        bots=OneBot(api),  # type: ignore[arg-type]
        tell=lambda task_id, outcome: desk.told.append((task_id, outcome)),
        heartbeat=Heartbeat(desk.store, lease_s=LEASE_S),
        clock=desk.clock,
    )


def test_a_reaction_of_a_message_that_waited_for_its_next_attempt_is_taken_off(desk, api, stopping):
    desk.webhook.answers = [WebhookBusyError(-1, "system busy")]
    assert desk.answer(desk.worker()).retry_in_s is not None

    assert stopping.stop(STOP) == Stopped(running=0, waiting=1)

    api.until(lambda a: RECALL in a.paths, "it to be taken off")
    assert [told for told, _ in desk.told] == [task_id("robot1", "msg1")]


def test_of_a_message_that_waited_for_its_turn_nothing_was_shown(desk, api, stopping):
    desk.webhook.answers = [WebhookBusyError(-1, "system busy")]
    assert desk.answer(desk.worker()).retry_in_s is not None
    second = envelope(message_id="msg2", created_at=START + timedelta(seconds=1))
    assert desk.answer(desk.worker(), second).parked

    assert stopping.stop(STOP) == Stopped(running=0, waiting=2)

    api.until(lambda a: RECALL in a.paths, "the first's to be taken off")
    assert api.paths.count(RECALL) == 1
