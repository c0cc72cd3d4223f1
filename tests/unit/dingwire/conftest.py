"""Fixtures of the client's tests."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.dingwire.local_server import LocalServer, running

# A machine busy with other tests is slow now and then; that is no fault of the code.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("busy machine")


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with running() as local:
        yield local
