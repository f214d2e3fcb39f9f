"""What the redirect's suites run over: every backend, and every IP family."""

import pytest

from tests.privileged.firewalls import BACKENDS
from tests.privileged.hosts import FAMILIES, Family


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found
