"""A short form of `make fuzz`, and proof that the fuzzer sees what it looks for."""

import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.fuzz.fuzzer import check, fuzz
from tests.fuzz.targets import TARGETS
from tests.processes import ROOT


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_leaves_what_reads_the_words_of_others(name):
    result = fuzz(TARGETS[name], seed=f"short:{name}", inputs=2_500, seconds=200, slow_s=2)

    assert result.failure is None, f"{name} {result.failure.raw.hex()}\n{result.failure.what}"
    assert result.inputs == 2_500
    assert not result.has_grown


def _failing(raw: bytes) -> None:
    if b"ping" not in raw:
        raise KeyError("ping")


def test_the_fuzzer_reports_the_input_that_fails_and_finds_it_again():
    target = replace(TARGETS["frames"], run=_failing)

    first, second = (fuzz(target, seed="1", inputs=1_000, seconds=200) for _ in range(2))

    assert first.failure
    assert "KeyError" in first.failure.what
    assert check(target, first.failure.raw)[1]
    assert second.failure
    assert second.failure.raw == first.failure.raw


def test_the_fuzzer_reports_an_input_that_takes_too_long():
    def slow(_: bytes) -> None:
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    result = fuzz(replace(TARGETS["frames"], run=slow), seed="1", inputs=10, seconds=200)

    assert result.failure
    assert re.fullmatch(r"took \d+\.\d s", result.failure.what)


def test_the_fuzzer_reports_memory_that_grows():
    kept: list[bytes] = []
    target = replace(TARGETS["frames"], run=lambda _: kept.append(b"x" * 20_000))

    assert fuzz(target, seed="1", inputs=6_000, seconds=200).has_grown


def test_the_command_runs_every_target():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", "200"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(TARGETS)
