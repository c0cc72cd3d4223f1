"""What the tests start is stopped without harm to anybody else."""

import os
import subprocess

from tests.processes import Process


def test_a_number_that_the_system_has_given_away_is_not_signalled(tmp_path):
    """Numbers come round in minutes where every thread of many workers takes one."""
    ended = Process("true", environment=os.environ, folder=tmp_path, log=tmp_path / "log")
    ended.wait(60)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        ended.group = other.pid

        ended.kill()

        assert list(ended.members()) == []
        assert other.poll() is None
        other.kill()
