"""The Procfile's release step: reads the settings, then creates or checks the store's schema.

``python -m worker.release`` exits 0 when a worker can start, 1 when the store cannot be used, 2
when settings cannot be read or the agent cannot be loaded. Its lines are the doctor's.
"""

import sys

from contract.checks import EXIT_UNREADABLE, Check, Status, as_table, exit_code
from contract.settings import SettingsError
from contract.settings_checks import check_settings, unreadable
from worker.bots import own_settings
from worker.doctor.own import check_agent
from worker.doctor.remembered import check_store
from worker.settings import WorkerSettings
from worker.store import StoreError
from worker.wiring import store_of

__all__ = ["main"]


def main() -> int:
    """Check and prepare; return the exit code."""
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        for check in unreadable(error):
            sys.stderr.write("; ".join(filter(None, (check.reason, check.fix))) + "\n")
        return EXIT_UNREADABLE
    agents = [
        check_agent(bot.agent, bot=bot, **own_settings(settings, bot)).about(name)
        for name, bot in settings.named_bots
    ]
    checks = [*check_settings(settings.secret_variables), *agents]
    if any(agent.status is Status.FAIL for agent in agents):
        _show(checks)
        return EXIT_UNREADABLE
    checks.append(_prepare(settings))
    _show(checks)
    return exit_code(checks)


def _prepare(settings: WorkerSettings) -> Check:
    try:
        store = store_of(settings)
        store.prepare()
        check = check_store(store, settings.store_address)
        store.close()
    except StoreError as error:
        return Check.fail("store", str(error), "is it running, and the address in STORE_URL?")
    return check


def _show(checks: list[Check]) -> None:
    (sys.stderr if exit_code(checks) else sys.stdout).write(as_table(checks) + "\n")


if __name__ == "__main__":
    sys.exit(main())
