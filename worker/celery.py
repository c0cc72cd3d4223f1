"""The Celery app: ``celery -A worker …`` finds it here.

Importing it validates nothing and imports no agent, so that operator commands run on a broken
setup.
"""

from functools import cached_property
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from contract import log
from contract.settings import Settings, SettingsError

__all__ = ["app"]


class _App(Celery):
    """Celery with our worker process."""

    @cached_property
    def Worker(self) -> Any:  # noqa: N802, Celery's name
        return self.subclass_with_self("worker.running.process:Worker")  # type: ignore[arg-type]


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    try:
        settings = Settings.load()
    except SettingsError:
        settings = Settings.model_construct()
    log.configure(settings.log_level, settings.log_format)


app = _App("celery-dingtalk", include=["worker.tasks"])
app.config_from_object("celeryconfig")
