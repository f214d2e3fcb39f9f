"""A host with a peer, and sockets that listen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privileged.hosts import Host, Listeners, wired_host
from tests.privileged.slotted import BY_NAME, Slotted, of


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    with wired_host(tmp_path) as made:
        yield made


@pytest.fixture(params=BY_NAME)
def slotted(host: Host, request: pytest.FixtureRequest) -> Slotted:
    """With two slots, for a workload of each IP version."""
    made = of(host, BY_NAME[request.param])
    made.config.write_text(made.text)
    return made


@pytest.fixture
def ears() -> Iterator[Listeners]:
    with Listeners() as made:
        yield made
