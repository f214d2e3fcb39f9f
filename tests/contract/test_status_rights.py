"""A right that is missing is named, with the file that gives it."""

import re
from collections.abc import Awaitable, Callable

import pytest

from agent.adapters.kube import KubeApi
from agent.core.reasons import Reason
from agent.ports import Event
from agent.sandbox.api.faults import Answer
from tests.contract import status_worlds
from tests.contract.status_worlds import EmbeddedWorld
from tests.contract.test_status_faults import CALLS, first, trouble, world

__all__ = ["world"]

EVENT = Event("vm-1.0", "uid", "2026-01-02T03:04:05.000000Z", "BecomeReady", "HostReady", "", False)
RIGHTS: dict[str, tuple[Callable[[KubeApi], Awaitable[object]], str, str]] = {
    "get of externalworkloads": (lambda api: api.read(), "hosts", "host.yaml"),
    "watch of externalworkloads": (first, "hosts", "host.yaml"),
    "patch of externalworkloads/status": (CALLS["patch_conditions"], "hosts", "host.yaml"),
    "get of leases": (CALLS["read_lease"], "hosts", "host.yaml"),
    "patch of leases": (CALLS["renew_lease"], "hosts", "host.yaml"),
    "list of endpointslices": (lambda api: api.listed(), "hosts", "host.yaml"),
    "create of events": (lambda api: api.post_event(EVENT), "hosts", "host.yaml"),
    "patch of events": (lambda api: api.repeat_event("vm-1.0", 2, EVENT.time), "hosts", "host.yaml"),
    "get of configmaps": (lambda api: api.trust_roots("linkerd").read(), "linkerd", "anchors.yaml"),
    "create of serviceaccounts/token": (lambda api: api.tokens("vm-1-mesh").ask(), "hosts", "token.yaml"),
}


@pytest.mark.parametrize("right", RIGHTS)
async def test_a_403_names_the_right_that_is_missing_and_the_file_that_gives_it(
    world: EmbeddedWorld, right: str
) -> None:
    call, namespace, file = RIGHTS[right]
    world.server.faults.add(Answer(403))
    found = await trouble(call(world.api))
    assert found.reason is Reason.API_FORBIDDEN
    where = f"in the namespace {namespace}, as config/cluster/{file} does"
    assert found.fault.way_out == f"allow {right} {where}"
    verb, _, resource = right.partition(" of ")
    given = (status_worlds.HOST_MANIFESTS.parent / file).read_text()
    assert re.search(rf"resources: \[{resource}\]\n(?: +resourceNames: .*\n)? +verbs: \[.*\b{verb}\b", given)
