"""A host with a peer, and sockets that listen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privileged.hosts import Host, Listeners, wired_host


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    with wired_host(tmp_path) as made:
        yield made


@pytest.fixture
def ears() -> Iterator[Listeners]:
    with Listeners() as made:
        yield made
