"""Two hosts that peers cannot tell apart."""

from collections.abc import Sequence

from agent.core import addresses
from agent.core.doctor.check import Outcome, fail, ok
from agent.core.doctor.cluster.seen import Workload, titles
from agent.core.late import dataclass


@dataclass(frozen=True)
class Neighbours:
    """`others`: every other ExternalWorkload of the cluster."""

    workload: Workload
    others: Sequence[Workload]


def unique(seen: Neighbours) -> Outcome:
    mine = seen.workload
    places, known = _places(mine), {addresses.comparable(one) for one in mine.addresses}
    for other in seen.others:
        if both := places & _places(other):
            why = f"ExternalWorkload {other.label} has the same address and port: {titles(both)}"
            return fail(f"{why}; clients get an error for both", "retire one of them: fairlead retire")
        if any(addresses.comparable(one) in known for one in other.addresses):
            why = f"ExternalWorkload {other.label} has the same address: peers dial one proxy there"
            return fail(why, "give each host an address of its own, or retire one of them")
        if other.identity == mine.identity and not _alike(mine, other):
            why = f"ExternalWorkload {other.label} has the same identity {mine.identity}"
            return fail(why, "give each host an identity of its own: enrol it with --identity and --replace")
    return ok("no other ExternalWorkload has its address or its identity")


def _alike(one: Workload, other: Workload) -> bool:
    """Members of a group may share an identity."""
    return bool(one.group) and (one.namespace, one.group) == (other.namespace, other.group)


def _places(workload: Workload) -> set[str]:
    known = (str(addresses.comparable(one)) for one in workload.addresses)
    return {f"{address}:{port.port}" for address in known for port in workload.ports}
