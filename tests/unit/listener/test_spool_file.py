"""What is on the disk: in order, bounded, private, and never counted wrong."""

import stat
from datetime import UTC, datetime

import pytest

from contract.envelope import Conversation, Envelope
from contract.report import Report
from contract.routing import EVENTS, REPORT
from listener.spool_file import Overflow, SpoolError, SpoolFile
from listener.task_message import TaskMessage, answer_task

SECRET = "what was written"
WEBHOOK = "https://oapi.dingtalk.com/robot/sendBySession?session=abc"


def _task(number: int, text: str = SECRET) -> TaskMessage:
    return answer_task(
        Envelope(
            bot="ding1",
            message_id=f"msg{number}",
            conversation_id="cid1",
            conversation=Conversation.GROUP,
            sender_staff_id="u1",
            text=text,
            session_webhook=WEBHOOK,
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


def _ids(tasks: list[TaskMessage]) -> list[str]:
    return [task.envelope["message_id"] for task in tasks]


def _drained(file: SpoolFile, limit: int = 7) -> list[str]:
    """Publish everything, as far as the file knows."""
    found = list[str]()
    while batch := file.head(limit):
        assert not batch.is_report
        found += _ids(batch.tasks)
        file.remove(batch, [task.task_id for task in batch.tasks])
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


def _opened(path, max_bytes: int = 2**20) -> SpoolFile:
    return SpoolFile(path, max_bytes=max_bytes)


def test_messages_come_back_in_order_and_word_for_word(path):
    file = _opened(path)
    odd = "emoji 😀, half a pair \ud83d, a NUL \0"
    file.append([_task(n) for n in range(20)])
    file.append([_task(20, odd)])

    assert file.backlog == 21
    batch = file.head(100)
    assert batch is not None
    assert batch.tasks[20] == _task(20, odd)
    assert _drained(file) == [f"msg{n}" for n in range(21)]
    assert file.backlog == 0


def test_another_process_finds_what_was_not_removed(path):
    first = _opened(path)
    first.append([_task(n) for n in range(5)])
    batch = first.head(3)
    assert batch is not None
    first.remove(batch, [task.task_id for task in batch.tasks[:2]])
    first.close()

    assert _drained(_opened(path)) == ["msg2", "msg3", "msg4"]


def test_a_message_that_comes_again_keeps_its_place(path):
    file = _opened(path)
    file.append([_task(1), _task(2)])
    file.append([_task(1), _task(3)])

    assert file.backlog == 3
    assert _drained(file) == ["msg1", "msg2", "msg3"]


def test_what_reached_the_broker_by_another_way_is_forgotten(path):
    file = _opened(path)
    file.append([_task(n) for n in range(4)])

    file.forget([_task(1).task_id, _task(99).task_id])

    assert file.backlog == 3
    assert _drained(file) == ["msg0", "msg2", "msg3"]


def test_a_full_spool_drops_its_oldest_and_reports_who_waits_for_an_answer(path):
    file = _opened(path, max_bytes=100_000)
    written = [f"msg{n}" for n in range(60)]

    overflow = file.append([_task(n, "x" * 1000) for n in range(60)])

    assert overflow.dropped > 0
    assert overflow.unreported == 0
    batch = file.head(7)
    assert batch is not None
    assert batch.is_report
    (task,) = batch.tasks
    assert (task.queue, task.headers["task"]) == (EVENTS, REPORT)
    report = Report.from_wire(task.body[1]["report"])
    assert [m.message_id for m in report.messages] == written[: overflow.dropped]
    assert {m.conversation for m in report.messages} == {Conversation.GROUP}
    assert "xxx" not in task.to_json()
    assert WEBHOOK not in task.to_json()
    file.remove(batch, [task.task_id])
    assert _drained(file) == written[overflow.dropped :]


def test_the_file_stays_within_its_bound_however_much_comes(path):
    file = _opened(path, max_bytes=2_000_000)
    overflow = Overflow()

    for start in range(0, 3000, 100):
        overflow += file.append([_task(n, "x" * 1000) for n in range(start, start + 100)])

    assert path.stat().st_size < 1.3 * 2_000_000
    reported = 0
    while (batch := file.head(7)) and batch.is_report:
        reported += len(batch.tasks[0].body[1]["report"]["messages"])
        file.remove(batch, [batch.tasks[0].task_id])
    left = _drained(file)
    assert left == [f"msg{n}" for n in range(3000 - len(left), 3000)]
    assert overflow.dropped == 3000 - len(left)
    assert reported == overflow.dropped - overflow.unreported


def test_a_report_that_was_not_confirmed_is_made_again(path):
    file = _opened(path, max_bytes=20_000)
    file.append([_task(n, "x" * 1000) for n in range(20)])
    first = file.head(7)
    assert first is not None
    file.remove(first, [])

    again = file.head(7)

    assert again is not None
    assert again.is_report
    assert again.tasks[0].body == first.tasks[0].body


def _limited(file: SpoolFile) -> None:
    """Let SQLite find the disk full: not one page more than there is."""
    file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    pages = file._db.execute("PRAGMA page_count").fetchone()[0]
    assert file._db.execute(f"PRAGMA max_page_count={pages}").fetchone()[0] == pages


def test_a_full_disk_takes_none_of_a_group_and_what_was_there_stays(path):
    file = _opened(path, max_bytes=2**30)
    file.append([_task(n) for n in range(10)])
    _limited(file)

    with pytest.raises(SpoolError, match=r"the spool cannot be written: .* full"):
        file.append([_task(n, "x" * 50_000) for n in range(10, 20)])

    assert file.backlog == 10
    assert _drained(file) == [f"msg{n}" for n in range(10)]


def test_a_file_that_cannot_be_changed_has_nothing_published_twice(path):
    """By this process: the next one knows no better than the file."""
    file = _opened(path)
    file.append([_task(n) for n in range(10)])
    file._db.execute("PRAGMA query_only=1")

    found = list[str]()
    while batch := file.head(4):
        found += _ids(batch.tasks)
        with pytest.raises(SpoolError, match="cannot be written"):
            file.remove(batch, [task.task_id for task in batch.tasks])
    assert found == [f"msg{n}" for n in range(10)]
    assert file.backlog == 0

    file._db.execute("PRAGMA query_only=0")
    file.append([_task(10)])
    assert _drained(file) == ["msg10"]
    file.close()
    assert _opened(path).backlog == 0


def test_nobody_else_may_read_it(path):
    file = _opened(path)
    file.append([_task(1)])

    for part in path.parent.iterdir():
        assert stat.S_IMODE(part.stat().st_mode) == 0o600, part.name


def test_when_it_is_empty_nothing_of_the_messages_is_left_in_it(path):
    file = _opened(path, max_bytes=2**24)
    file.append([_task(n, "xyzzy " * 200) for n in range(1000)])
    _drained(file, limit=200)

    assert b"xyzzy" not in b"".join(p.read_bytes() for p in path.parent.iterdir())


def test_a_file_of_a_later_release_is_left_as_it_is(path):
    file = _opened(path)
    file._db.execute("PRAGMA user_version=99")
    file.close()

    with pytest.raises(SpoolError, match="version 99"):
        _opened(path)


def test_a_file_that_is_none_is_refused(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)

    with pytest.raises(SpoolError, match="the spool cannot be opened"):
        _opened(path)
