"""Who is denied is told by a worker, once an hour, and nothing of what was written goes there."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from contract.envelope import Envelope
from contract.report import Denied, read_report
from contract.sealing import IN_CLEAR, Sealer
from listener.admission import Denial
from listener.notices import Notices
from listener.task_message import TaskMessage

KEY = "T3BlbiBzZXNhbWUsIG9wZW4gc2VzYW1lLCBvcGVuISE="
WEBHOOK = "https://oapi.dingtalk.com/robot/sendBySession?session=secret"


class Place:
    def __init__(self, *, sealer: Sealer = IN_CLEAR, limit: int = 100) -> None:
        self.now, self.is_up = 0.0, True
        self.tasks: list[TaskMessage] = []
        self.notices = Notices(self._offer, monotonic=lambda: self.now, sealer=sealer, limit=limit)

    def _offer(self, task: TaskMessage) -> "asyncio.Future[bool]":
        taken = asyncio.get_running_loop().create_future()
        taken.set_result(self.is_up)
        if self.is_up:
            self.tasks.append(task)
        return taken

    async def tell(self, **more: Any) -> None:
        facts: dict[str, Any] = {
            "bot": "ding1", "message_id": "msg1", "sender_staff_id": "alice",
            "text": "a secret text", "session_webhook": WEBHOOK,
            "received_at": datetime(2026, 1, 1, tzinfo=UTC),
        }  # fmt: skip
        self.notices.tell(Envelope(**facts | more), Denial.SENDER)
        await asyncio.sleep(0)  # one turn of the loop, for the broker's answer


async def test_the_report_says_whom_to_tell_and_nothing_of_what_was_written():
    place = Place()
    await place.tell()

    (task,) = place.tasks
    report = read_report(task.body[1]["report"])
    assert isinstance(report, Denied)
    envelope = Envelope.from_wire(report.envelope)
    assert (envelope.sender_staff_id, envelope.session_webhook) == ("alice", WEBHOOK)
    assert report.written_in == "en"
    assert "secret text" not in task.to_json()
    assert "secret" not in str(task.headers) + repr(task) + repr(report)


async def test_the_webhook_is_sealed():
    place = Place(sealer=Sealer.from_setting(KEY))
    await place.tell()
    assert "session=secret" not in place.tasks[0].to_json()


async def test_each_person_is_told_once_an_hour():
    place = Place()
    await place.tell()
    await place.tell(message_id="msg2")
    await place.tell(sender_staff_id="bob")
    place.now = 3601.0
    await place.tell(message_id="msg3")
    assert len(place.tasks) == 3


async def test_with_the_broker_away_the_next_message_tries_again():
    place = Place()
    place.is_up = False
    await place.tell()
    place.is_up = True
    await place.tell()
    assert len(place.tasks) == 1


async def test_who_cannot_be_told_is_not():
    place = Place()
    await place.tell(sender_staff_id=None)
    await place.tell(session_webhook=None)
    assert place.tasks == []


async def test_many_people_do_not_fill_the_memory():
    place = Place(limit=10)
    for number in range(50):
        await place.tell(sender_staff_id=f"person{number}")
    assert len(place.tasks) == 50
    assert len(place.notices._told) <= 10
