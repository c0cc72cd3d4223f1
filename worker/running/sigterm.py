"""Keeps SIGTERM what it is; loaded by ``celeryconfig.py``.

``REMAP_SIGTERM=SIGQUIT``, which Heroku's guide to Celery recommends, makes SIGTERM end a worker at
once: agents are cut off, a reply may be posted twice, and what was in hand waits for its lease to
run out. Our worker stops in time by itself (``SHUTDOWN_GRACE_S``), so it starts without that
variable. By starting anew, because Celery has read it before anything of ours is loaded.
"""

import os
import sys
from typing import Any

from celery.signals import celeryd_init

__all__ = ["VARIABLE", "start_without_it"]

VARIABLE = "REMAP_SIGTERM"


@celeryd_init.connect
def start_without_it(**_: Any) -> None:
    """Start this worker anew without the variable, under the same process id."""
    if not os.environ.pop(VARIABLE, None):
        return
    sys.stderr.write(f"{VARIABLE} is ignored: SIGTERM stops this worker within its grace anyway\n")
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606, ourselves
