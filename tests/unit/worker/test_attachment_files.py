"""Where files are while an agent has them, and that nothing of them stays."""

import errno
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contract.content import Attachment
from dingwire.errors import MediaError, MediaRefusedError, MediaUnavailableError
from tests.unit.worker.answering_parts import envelope
from worker.agents.attachment_files import AttachmentFiles

PICTURE = Attachment(kind="picture", download_code="private-code")
VIDEO = Attachment(kind="video", download_code="private-code-2", media_type="video/mp4")


class Source:
    """Writes what it is asked for, or raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[dict[str, object]] = []
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def download(self, code: str, **facts: object) -> Path:
        self.asked.append({"code": code, **facts})
        self.begun.set()
        assert self.may_end.wait(60)
        if self.error is not None:
            raise self.error
        path = facts["to"]
        assert isinstance(path, Path)
        try:
            path.write_text(code)
        except OSError:
            raise MediaUnavailableError("it cannot be written") from None
        return path


def files(folder: Path, source: Source | None) -> AttachmentFiles:
    return AttachmentFiles(folder, lambda _: source, monotonic=lambda: 100.0)


def test_each_message_has_a_folder_that_nobody_else_enters(tmp_path):
    source = Source()
    with files(tmp_path, source).of(envelope(), within_s=30) as its:
        first, second = its.fetch(PICTURE), its.fetch(VIDEO)

        assert first.parent == second.parent
        assert first != second
        assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(first.parent.parent.stat().st_mode) == 0o700
        assert first.parent.parent == tmp_path / "attachments"

    assert list((tmp_path / "attachments").iterdir()) == []
    assert source.asked[1]["name"] == "x.mp4"
    assert source.asked[0]["within_s"] == 30
    assert source.asked[0]["robot_code"] == "robot1"


def test_without_a_download_nothing_is_written(tmp_path):
    with files(tmp_path, Source()).of(envelope(), within_s=30):
        pass

    assert list(tmp_path.iterdir()) == []


def test_asked_twice_it_is_fetched_once(tmp_path):
    source = Source()
    with files(tmp_path, source).of(envelope(), within_s=30) as its:
        assert its.fetch(PICTURE) == its.fetch(PICTURE)

    assert len(source.asked) == 1


def test_what_failed_may_be_asked_for_again(tmp_path):
    source = Source(MediaUnavailableError("no connection"))
    with files(tmp_path, source).of(envelope(), within_s=30) as its:
        with pytest.raises(MediaUnavailableError):
            its.fetch(PICTURE)
        source.error = None

        assert its.fetch(PICTURE).exists()


def test_what_fails_is_logged_without_its_code(tmp_path, caplog):
    source = Source(MediaRefusedError("its code is too old"))
    with (
        caplog.at_level(logging.WARNING),
        files(tmp_path, source).of(envelope(), within_s=30) as its,
        pytest.raises(MediaRefusedError),
    ):
        its.fetch(PICTURE)

    [record] = caplog.records
    assert (record.action, record.message_id, record.kind) == (
        "attachment_failed", "msg1", "picture",
    )  # fmt: skip
    assert "private" not in str(vars(record))


def test_a_worker_without_credentials_says_so(tmp_path):
    with (
        files(tmp_path, None).of(envelope(), within_s=30) as its,
        pytest.raises(MediaUnavailableError, match="DINGTALK_CLIENT_SECRET"),
    ):
        its.fetch(PICTURE)


def test_an_agent_that_was_abandoned_gets_nothing_and_leaves_nothing(tmp_path):
    """Its thread goes on when its message is finished, in the middle of a download."""
    source = Source()
    source.may_end.clear()
    raised: list[MediaError] = []

    def agent(fetch):
        try:
            fetch(PICTURE)
        except MediaError as error:
            raised.append(error)

    with files(tmp_path, source).of(envelope(), within_s=30) as its:
        thread = threading.Thread(target=agent, args=(its.fetch,))
        thread.start()
        assert source.begun.wait(60)
    source.may_end.set()
    thread.join(60)

    assert len(raised) == 1
    assert list((tmp_path / "attachments").iterdir()) == []
    with pytest.raises(MediaUnavailableError, match="finished"):
        its.fetch(VIDEO)


def test_a_data_dir_that_takes_nothing_is_no_obstacle(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    with files(no_folder, Source()).of(envelope(), within_s=30) as its:
        path = its.fetch(PICTURE)
        assert path.read_text() == "private-code"

    assert not path.exists()
    path.parent.parent.rmdir()


def _aged(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))


def test_what_a_killed_process_left_behind_is_removed_and_what_is_in_use_is_not(tmp_path, caplog):
    script = (
        "import sys; from pathlib import Path\n"
        "from worker.agents.attachment_files import _held_folder\n"
        "held = _held_folder(Path(sys.argv[1])); print(held[0], flush=True); sys.stdin.read()"
    )
    root = tmp_path / "attachments"
    root.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        (other / "1.png").write_text("x")
        _aged(other)
        ours = files(tmp_path, Source())
        with ours.of(envelope(), within_s=30) as its:
            in_use = its.fetch(PICTURE)
            _aged(in_use.parent)

            assert files(tmp_path, None).sweep() == 0
            assert other.exists()
            process.kill()
            process.wait(60)
            with caplog.at_level(logging.INFO):
                assert files(tmp_path, None).sweep() == 1

            assert not other.exists()
            assert in_use.exists()
    assert [record.action for record in caplog.records] == ["attachments_swept"]


def test_a_folder_that_was_just_made_may_not_be_held_yet(tmp_path):
    (tmp_path / "attachments" / "new").mkdir(parents=True)

    assert files(tmp_path, None).sweep() == 0


def test_nothing_to_sweep_is_nothing_made(tmp_path):
    assert files(tmp_path, None).sweep() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed_by_the_sweep(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    root = tmp_path / "attachments"
    root.mkdir()
    (root / "link").symlink_to(elsewhere)
    then = time.time() - 3600
    os.utime(root / "link", (then, then), follow_symlinks=False)

    assert files(tmp_path, None).sweep() == 0
    assert (elsewhere / "kept").exists()


def test_a_folder_that_cannot_be_looked_into_is_no_obstacle(tmp_path, monkeypatch):
    """Made by another user, say, as whom a worker was run once."""
    (tmp_path / "attachments").mkdir()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may look into everything

    assert files(tmp_path, None).sweep() == 0
