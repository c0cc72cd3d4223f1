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


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with running() as local:
        yield local
