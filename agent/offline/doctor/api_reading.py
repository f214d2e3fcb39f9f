"""What the API server says to the agent's user: the ExternalWorkload, the Lease, the rights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from agent import host as hosts
from agent.adapters.kube import KubeApi
from agent.config import Config, derived
from agent.core import machines, matching, opaque
from agent.core.doctor import api
from agent.core.facts import Facts, Workload, WorkloadFact
from agent.core.health import Spec
from agent.core.reasons import Fault
from agent.core.standings import ports_standing
from agent.host import Host
from agent.offline import credential, identity
from agent.offline.doctor.plain_faults import plain
from agent.ports import Trouble

_EACH: Final = 2.5  # seconds for one call


@asynccontextmanager
async def _asked(config: Config) -> AsyncIterator[KubeApi]:
    kube = KubeApi(
        credential.credential(config),
        namespace=config.workload.namespace,
        name=config.workload.name,
        user_agent="fairlead-doctor",
        timeout=_EACH,
    )
    try:
        yield kube
    finally:
        await kube.close()


async def read(prefix: str) -> Any:
    """`fault`: why the ExternalWorkload cannot be read. `workload`: what keeps it from describing this host.
    `lease`: what is wrong with the Lease."""
    config, root = identity.configuration(prefix), Host.below(prefix).prefix
    spec = derived.policy_spec(config, root, hosts.boot_id())
    async with _asked(config) as kube:
        try:
            seen = await kube.read()
        except Trouble as trouble:
            return {"fault": plain(trouble.fault), "workload": [], "lease": None}
        lease = await _lease(kube, spec, hosts.machine(root))
        return {"fault": None, "workload": [plain(one) for one in differences(spec, seen)], "lease": plain(lease)}


def differences(spec: Spec, seen: Workload) -> list[Fault]:
    """As the agent judges them."""
    facts = replace(Facts(), workload=WorkloadFact(seen=seen))
    found = [*matching.differences(spec, seen), ports_standing(spec, facts), opaque.mismatch(spec, facts)]
    return [one for one in found if isinstance(one, Fault)]


async def _lease(kube: KubeApi, spec: Spec, machine: str) -> Fault | None:
    try:
        lease = await kube.read_lease()
    except Trouble as trouble:
        return trouble.fault
    return machines.fault(lease.annotations.get(machines.MACHINE, ""), machine, spec.workload)


async def rights(prefix: str) -> Any:
    """In the order of `wanted`: whether each is given; or the fault that keeps it from being asked."""
    config = identity.configuration(prefix)
    async with _asked(config) as kube:
        try:
            return await asyncio.gather(*(kube.reviews().allowed(right) for right in wanted(config)))
        except Trouble as trouble:
            return plain(trouble.fault)


def wanted(config: Config) -> tuple[api.Right, ...]:
    own = config.identity
    asks = own.mode == "token" and not own.token_file
    return api.rights(
        config.workload.namespace,
        config.workload.name,
        anchors_in=config.control_plane.namespace if own.anchors_source == "cluster" else "",
        tokens_for=own.service_account if asks else "",
    )
