"""The parameters of the redirect's suites: every backend, and every IP family; and the machine that the suites of
the proxy's unit share."""

from collections.abc import Iterator

import pytest

from tests.lab import netns, unit_machine
from tests.lab.machine import Machine
from tests.privileged.conftest import host as host
from tests.privileged.firewalls import BACKENDS
from tests.privileged.hosts import FAMILIES, Family


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="session")
def proxy_host(root: None) -> Iterator[tuple[Machine, netns.Namespace]]:
    """A machine that owns a proxy, and a client's network beside it: leave it `proxymachine.quiet`."""
    with unit_machine.booted() as made:
        yield made
