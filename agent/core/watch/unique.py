"""What no host can see: that something else has its address, another ExternalWorkload its address and port or its
SPIFFE ID, or a second machine its Lease.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from agent.core import addresses
from agent.core.addresses import Key
from agent.core.conditions import Word
from agent.core.facts import Condition
from agent.core.reasons import REGISTRY, Reason
from agent.core.watch.fleet import UNIQUE, Heard, Name, WorkloadSeen

NAMED = 3  # others in a message
Endpoint: TypeAlias = tuple[Key, int]


@dataclass(frozen=True)
class Shared:
    """`others`: the first ones, sorted, without the host itself; `more`: there are others."""

    reason: Reason
    others: tuple[Name, ...]
    more: bool = False

    @property
    def message(self) -> str:
        named = ", ".join("/".join(other) for other in self.others)
        return f"{REGISTRY[self.reason].text}: {named}{' and others' if self.more else ''}"


def shared(
    workloads: Mapping[Name, WorkloadSeen],
    cluster: Mapping[Key, Name] | None = None,
    twins: Mapping[Name, Shared] | None = None,
) -> dict[Name, Shared]:
    """`cluster`: pods and nodes by address. Of several conflicts the first is reported: an address and port in
    common, because clients get errors by it; a pod or node; a Lease; a SPIFFE ID."""
    by_identity = _others(_by_identity(workloads).values(), Reason.SPIFFE_ID_SHARED)
    by_address = _in_cluster(workloads, cluster or {})
    return (
        by_identity
        | dict(twins or {})
        | by_address
        | _others(_by_endpoint(workloads).values(), Reason.ENDPOINT_SHARED)
    )


def twins(leases: Mapping[Name, Heard], now: float) -> dict[Name, Shared]:
    """Leases that two machines renew. A Name is the holder and the machine's boot id."""
    found = {name: heard.renewers.together(heard.lease.renewer, now) for name, heard in leases.items()}
    return {
        name: Shared(Reason.LEASE_SHARED, tuple(_name(one) for one in both))
        for name, both in found.items()
        if both
    }


def _name(renewer: str) -> Name:
    holder, _, boot = renewer.rpartition("/")
    return holder, boot


def keys(workloads: Mapping[Name, WorkloadSeen]) -> frozenset[Key]:
    """The addresses of all of them."""
    return frozenset(addresses.comparable(one) for seen in workloads.values() for one in seen.addresses)


def _in_cluster(workloads: Mapping[Name, WorkloadSeen], cluster: Mapping[Key, Name]) -> dict[Name, Shared]:
    found = {
        name: sorted({cluster[key] for one in seen.addresses if (key := addresses.comparable(one)) in cluster})
        for name, seen in workloads.items()
        if cluster
    }
    return {
        name: Shared(Reason.ADDRESS_IN_CLUSTER, tuple(others[:NAMED])) for name, others in found.items() if others
    }


def _others(groups: Iterable[set[Name]], reason: Reason) -> dict[Name, Shared]:
    """A group may be the whole fleet: of each, only the first few are kept for each host."""
    found: dict[Name, set[Name]] = {}
    for group in groups:
        first = sorted(group)[: NAMED + 2]
        for name in group if len(group) > 1 else ():
            found.setdefault(name, set()).update(one for one in first if one != name)
    return {
        name: Shared(reason, tuple(sorted(others)[:NAMED]), len(others) > NAMED) for name, others in found.items()
    }


def _by_endpoint(workloads: Mapping[Name, WorkloadSeen]) -> dict[Endpoint, set[Name]]:
    found: dict[Endpoint, set[Name]] = {}
    for name, seen in workloads.items():
        for address in seen.addresses:
            for port in seen.ports:
                found.setdefault((addresses.comparable(address), port), set()).add(name)
    return found


def _by_identity(workloads: Mapping[Name, WorkloadSeen]) -> dict[str, set[Name]]:
    """Without those that one group shares."""
    found: dict[str, set[Name]] = {}
    for name, seen in workloads.items():
        if seen.identity:
            found.setdefault(seen.identity, set()).add(name)
    owners = {
        identity: {(name[0], workloads[name].group or name) for name in names} for identity, names in found.items()
    }
    return {identity: names for identity, names in found.items() if len(owners[identity]) > 1}


def _said(word: Word, message: str) -> Condition:
    return Condition(word.type, word.status, word.reason.value, message)


def wanted(found: Shared | None, seen: WorkloadSeen) -> Condition | None:
    """The condition to write, without its time; None: nothing changes. A host that was never in conflict has
    none."""
    before = seen.unique
    if found is not None:
        condition = _said(Word(UNIQUE, "False", found.reason), found.message)
    elif before is not None:
        condition = _said(Word(UNIQUE, "True", Reason.HOST_UNIQUE), REGISTRY[Reason.HOST_UNIQUE].text)
    else:
        return None
    same = before is not None and (before.status, before.reason, before.message) == (
        condition.status,
        condition.reason,
        condition.message,
    )
    return None if same else condition
