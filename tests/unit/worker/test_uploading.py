"""Uploads do not take the time that the answer itself needs."""

from typing import Any

import pytest

from dingwire.errors import OpenApiUnavailableError
from dingwire.replies import File, Media, Reply, Text
from tests.unit.worker.answering_parts import envelope
from worker.sending.uploading import Uploading

LOOK = Text(content="look")
AWAY = OpenApiUnavailableError("unreachable")


class SlowUploads:
    """Takes so many seconds for each attempt, as long as it may."""

    def __init__(self, takes_s: float, *answers: Exception) -> None:
        self.now, self.takes_s, self.answers = 0.0, takes_s, list(answers)
        self.may_take: list[float] = []

    def upload(self, api: Any, media: Media, *, within_s: float) -> str:
        self.may_take.append(within_s)
        self.now += min(self.takes_s, within_s)
        if self.answers:
            raise self.answers.pop(0)
        return f"@uploaded{len(self.may_take)}"


def ready(uploads: SlowUploads, files: int, spare_s: float | None) -> list[Reply]:
    api: Any = object()
    uploading = Uploading(uploads, lambda _: api, monotonic=lambda: uploads.now)
    replies = [File(data=b"x", name=f"{number}.pdf") for number in range(files)]
    return uploading.ready([LOOK, *replies], envelope(), spare_s=spare_s)


def test_what_there_is_no_time_for_becomes_what_is_closest_to_it():
    uploads = SlowUploads(70)

    replies = ready(uploads, 3, spare_s=7200)

    assert uploads.may_take == [120, 50]
    assert [reply.kind for reply in replies] == ["text", "file", "file", "text"]


@pytest.mark.parametrize(
    ("spare_s", "may_take"), [(40, 20), (7200, 120), (None, 120), (0, 120), (-5, 120)]
)
def test_half_of_what_is_left_until_the_deadline_is_for_the_sending(spare_s, may_take):
    """Of an answer that is late already, nobody waits for the rest."""
    uploads = SlowUploads(1)

    ready(uploads, 1, spare_s)

    assert uploads.may_take == [may_take]


def test_an_upload_that_took_all_the_time_is_not_tried_again():
    uploads = SlowUploads(60, AWAY, AWAY)

    (_, reply) = ready(uploads, 1, spare_s=60)

    assert uploads.may_take == [30]
    assert isinstance(reply, Text)
