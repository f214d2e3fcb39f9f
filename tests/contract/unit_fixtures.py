"""The machine that the suites of the proxy's unit share, clean for each test, and the client's network."""

from collections.abc import Iterator

import pytest

from tests.lab import netns, unit_machine
from tests.lab.machine import Machine


@pytest.fixture(name="machine")
def clean_machine(proxy_host: tuple[Machine, netns.Namespace]) -> Iterator[Machine]:
    with unit_machine.clean(proxy_host[0]) as machine:
        yield machine


@pytest.fixture(name="client")
def client_network(proxy_host: tuple[Machine, netns.Namespace]) -> netns.Namespace:
    return proxy_host[1]
