"""The cluster's ConfigMap with the mesh's trust anchors, read by a host with the shipped right to it."""

import asyncio
import string
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from agent.ports import Trouble
from tests.contract import status_worlds
from tests.contract.status_worlds import COLLECTIONS, NAME, HttpWorld

MANIFESTS = Path(__file__).parents[2] / "config/cluster/anchors.yaml"


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.real)])
async def real(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        yield world


async def allow(real: HttpWorld) -> None:
    names = {"NAME": NAME, "NAMESPACE": real.namespace, "LINKERD": real.namespace}
    text = string.Template(MANIFESTS.read_text()).substitute(names)
    for kind, document in zip(("Role", "RoleBinding"), text.split("\n---\n"), strict=True):
        await real.must("POST", COLLECTIONS[kind].format(real.namespace), document, "application/yaml")


async def reason(real: HttpWorld) -> Reason:
    with pytest.raises(Trouble) as raised:
        await real.api.trust_roots(real.namespace).read()
    return raised.value.reason


async def test_identity_anchors_forbidden_absent_empty_and_there(real: HttpWorld) -> None:
    assert await reason(real) is Reason.API_FORBIDDEN
    await allow(real)
    async with asyncio.timeout(30):
        while await reason(real) is Reason.API_FORBIDDEN:  # rights reach the server's caches a moment later
            await asyncio.sleep(0.05)
    assert await reason(real) is Reason.TRUST_ANCHORS_MISSING
    path = f"/api/v1/namespaces/{real.namespace}/configmaps"
    await real.must("POST", path, {"metadata": {"name": "linkerd-identity-trust-roots"}, "data": {"other": "x"}})
    assert await reason(real) is Reason.TRUST_ANCHORS_MISSING
    await real.must("PATCH", f"{path}/linkerd-identity-trust-roots", {"data": {"ca-bundle.crt": "the PEM"}})
    assert await real.api.trust_roots(real.namespace).read() == "the PEM"
