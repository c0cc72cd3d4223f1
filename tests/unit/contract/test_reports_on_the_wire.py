"""Releases that differ understand each other's reports, or say that they do not."""

from datetime import UTC, datetime

import pytest

from contract.report import ListenerStatus, LostMessage, Report, ReportError, read_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOSS = Report(
    reason="spool_full", messages=(LostMessage(bot="ding1", message_id="msg1", received_at=NOW),)
)
STATUS = ListenerStatus(
    listener="host:1", release="1", bot="ding1", started_at=NOW, sent_at=NOW, last_frame_age_s=1.5
)


@pytest.mark.parametrize("report", [LOSS, STATUS])
def test_a_report_survives_the_way_to_a_worker(report):
    assert read_report(report.to_wire()) == report


def test_a_loss_is_written_as_before_there_were_other_kinds():
    """An older worker reads it, and a newer one an older listener's."""
    assert set(LOSS.to_wire()) == {"reason", "messages"}


def test_an_older_worker_takes_a_status_for_no_report():
    """And not for a loss of no messages."""
    with pytest.raises(ReportError):
        Report.from_wire(STATUS.to_wire())


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"reason": "spool_full"},
        {"reason": "of tomorrow", "messages": []},
        {"kind": "of tomorrow"},
        {"kind": ["of tomorrow"]},
        {"kind": "listener_status", "listener": "host:1", "sent_at": "tomorrow"},
    ],
)
def test_what_is_no_report_is_refused_without_its_values(data):
    with pytest.raises(ReportError, match="not a report: ") as refused:
        read_report(data)

    assert "tomorrow" not in str(refused.value)


def test_fields_of_a_later_release_do_no_harm():
    loss, status = LOSS.to_wire() | {"new": 1}, STATUS.to_wire() | {"new": 1}
    loss["messages"][0]["new"] = 1

    assert (read_report(loss), read_report(status)) == (LOSS, STATUS)


def test_fields_that_an_older_release_does_not_know_have_a_default():
    wire = {
        name: STATUS.to_wire()[name]
        for name in ("kind", "listener", "release", "bot", "started_at", "sent_at")
    }

    assert read_report(wire) == STATUS.model_copy(update={"last_frame_age_s": None})
