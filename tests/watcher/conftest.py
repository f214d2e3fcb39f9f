"""A fleet on the real API server, and how the watcher authenticates there: by its own account."""

from pathlib import Path

import pytest

from tests.lab.realparts import ApiServer
from tests.watcher.watching import LEASES, SYSTEM, Fleet, install, kubeconfig

_TOKENS: dict[str, str] = {}


@pytest.fixture
def fleet(real_apiserver: ApiServer) -> Fleet:
    if real_apiserver.url not in _TOKENS:
        _TOKENS[real_apiserver.url] = install(real_apiserver)
    # What a watcher that was killed left behind.
    real_apiserver.request("DELETE", LEASES.format(SYSTEM) + "/fairlead-watcher")
    return Fleet(real_apiserver)


@pytest.fixture
def token(fleet: Fleet) -> str:
    return _TOKENS[fleet.server.url]


@pytest.fixture
def config(fleet: Fleet, token: str, tmp_path: Path) -> Path:
    return kubeconfig(fleet.server, tmp_path / "config", token)
