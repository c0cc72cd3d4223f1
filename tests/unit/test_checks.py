"""Checks: made at once, within a time limit, shown to people and to machines."""

import json
import threading
import time

from contract.checks import Check, Examination, Status, as_json, as_table, examine, exit_code

FINE, ODD = Check.ok("settings"), Check.warn("agent", "slow", "make it quick")
BROKEN, LEFT = Check.fail("api", "not there", "start it"), Check.skip("stream", "not asked for")


def of(*checks: Check) -> Examination:
    return Examination(tuple(check.name for check in checks), lambda: checks)


def test_a_line_has_name_status_reason_and_what_to_do():
    assert as_table([FINE, ODD, BROKEN, LEFT]).splitlines() == [
        "settings  ok",
        "agent     warn  slow; make it quick",
        "api       FAIL  not there; start it",
        "stream    skip  not asked for",
    ]


def test_machines_get_the_same_with_the_worst_of_it():
    shown = json.loads(as_json([FINE, BROKEN, ODD]))

    assert shown["overall"] == "FAIL"
    assert shown["checks"][1] == {
        "name": "api", "status": "FAIL", "reason": "not there", "fix": "start it",
    }  # fmt: skip
    assert json.loads(as_json([FINE, ODD, LEFT]))["overall"] == "warn"
    assert json.loads(as_json([FINE, LEFT]))["overall"] == "ok"


def test_only_what_fails_is_a_failure():
    assert exit_code([FINE, ODD, LEFT]) == 0
    assert exit_code([FINE, BROKEN]) == 1


def test_they_come_in_the_order_they_were_asked_for():
    turn = threading.Event()

    def last_to_end():
        assert turn.wait(60)
        yield FINE

    def first_to_end():
        yield ODD
        turn.set()

    found = examine(
        [Examination(("settings",), last_to_end), Examination(("agent",), first_to_end)], limit_s=10
    )

    assert found == [FINE, ODD]


def test_one_that_hangs_fails_and_holds_up_nobody():
    def hang():
        yield FINE
        threading.Event().wait(60)

    started = time.monotonic()
    found = examine([Examination(("settings", "api", "stream"), hang), of(ODD)], limit_s=0.3)

    assert time.monotonic() - started < 30
    assert [(check.name, check.status) for check in found] == [
        ("settings", Status.OK),
        ("api", Status.FAIL),
        ("stream", Status.SKIP),
        ("agent", Status.OK if ODD.status is Status.OK else Status.WARN),
    ]
    assert found[1].reason == "no answer within 0.3 s"
    assert found[2].reason == "api comes first"


def test_one_that_breaks_fails_without_the_words_of_the_error():
    def broken():
        yield FINE
        raise RuntimeError("redis://:SECRET@h")

    found = examine([Examination(("settings", "api"), broken)], limit_s=5)

    assert found[1].status is Status.FAIL
    assert found[1].reason == "the check itself failed (RuntimeError)"
    assert "SECRET" not in as_json(found)


def test_one_name_may_have_several_findings():
    found = examine([Examination(("settings",), lambda: [FINE, FINE])], limit_s=5)
    assert found == [FINE, FINE]
