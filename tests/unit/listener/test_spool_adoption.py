"""Each process has a file of its own; what a dead one left is taken over, and no other."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.envelope import Envelope
from listener.spool import Spool, SpoolError
from listener.task_message import TaskMessage, answer_task


def _task(number: int) -> TaskMessage:
    return answer_task(
        Envelope(
            bot="ding1", message_id=f"msg{number}", received_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
    )


def _opened(folder: Path) -> Spool:
    spool = Spool(folder / "spool", max_bytes=2**20)
    spool.open()
    return spool


def _drained(spool: Spool) -> list[str]:
    found = list[str]()
    while batch := spool.head(10):
        found += [task.envelope["message_id"] for task in batch.tasks]
        spool.remove(batch, [task.task_id for task in batch.tasks])
    return found


def test_once_it_is_open_it_has_what_was_left_behind_and_that_goes_first(tmp_path):
    """Before anything new can be published."""
    first = _opened(tmp_path)
    first.append([_task(1), _task(2)])
    first.close()

    second = _opened(tmp_path)
    second.append([_task(3)])

    assert _drained(second) == ["msg1", "msg2", "msg3"]
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_what_a_living_one_has_is_left_to_it(tmp_path):
    first = _opened(tmp_path)
    first.append([_task(1)])

    second = _opened(tmp_path)

    assert second.adopt() == 0
    assert second.backlog == 0
    assert _drained(first) == ["msg1"]


def test_of_two_that_could_adopt_one_does(tmp_path):
    dead = _opened(tmp_path)
    dead.append([_task(1)])
    dead.close()
    living = [_opened(tmp_path), _opened(tmp_path)]

    assert [spool.backlog + spool.adopt() for spool in living] == [1, 0]


def test_nothing_is_left_of_a_spool_that_is_closed_empty(tmp_path):
    _opened(tmp_path).close()

    assert list((tmp_path / "spool").iterdir()) == []


def test_its_folders_are_its_users_alone(tmp_path):
    _opened(tmp_path)

    for folder in (tmp_path / "spool", *(tmp_path / "spool").iterdir()):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_that_cannot_be_read_is_left_alone_and_said_once(tmp_path, caplog):
    broken = tmp_path / "spool" / "broken"
    broken.mkdir(parents=True)
    (broken / "lock").touch()
    (broken / "spool.db").write_bytes(os.urandom(10_000))

    spool = _opened(tmp_path)
    spool.adopt()
    spool.append([_task(1)])

    said = [r for r in caplog.records if getattr(r, "action", "") == "spool_failed"]
    assert len(said) == 1
    assert _drained(spool) == ["msg1"]
    assert (broken / "spool.db").exists()


def test_a_place_that_could_not_be_made_is_tried_again(tmp_path):
    (tmp_path / "spool").touch()
    spool = Spool(tmp_path / "spool", max_bytes=2**20)
    with pytest.raises(SpoolError, match="the spool cannot be created"):
        spool.open()
    with pytest.raises(SpoolError):
        spool.append([_task(1)])

    (tmp_path / "spool").unlink()
    spool.append([_task(1)])

    assert _drained(spool) == ["msg1"]


def test_a_commit_waits_for_the_disk(tmp_path):
    """No test can take the power away, so this one asks SQLite."""
    spool = _opened(tmp_path)
    spool.append([_task(1)])
    batch = spool.head(1)
    assert batch is not None

    full = 2
    assert batch.file._db.execute("PRAGMA synchronous").fetchone()[0] == full
    assert batch.file._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
