"""What the operator's commands begin with: settings, the store, and how they say no.

Results go to stdout, errors to stderr. Exit 0, 1 for what is not there or failed, 2 for settings
that cannot be read.
"""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import click

from contract.settings import SettingsError
from worker.settings import WorkerSettings
from worker.store import Store, StoreError
from worker.wiring import store_of

__all__ = ["AS_JSON", "fail", "opened", "read_settings"]

AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


def read_settings() -> WorkerSettings:
    """Read the settings, or end with 2 and a line for each variable that is wrong."""
    try:
        return WorkerSettings.load()
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"cannot read settings: {line}", err=True)
        sys.exit(2)


@contextmanager
def opened(settings: WorkerSettings) -> Iterator[Store]:
    """Yield the store, ready; end with 1 and a line when it cannot be read, also later on."""
    file = _file_of(settings.store_address)
    if file is not None and not file.exists():
        fail(f"no store at {file}: nothing was ever remembered here")
    try:
        with closing(store_of(settings)) as store:
            store.prepare()
            yield store
    except StoreError as error:
        fail(f"cannot read the store: {error}")


def fail(text: str) -> NoReturn:
    """Say why, and end with 1."""
    click.echo(text, err=True)
    sys.exit(1)


def _file_of(store_address: str) -> Path | None:
    """Return the file of a SQLite store, which opening would create; None for other stores."""
    name = store_address.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if store_address.startswith("sqlite:///") and name else None
