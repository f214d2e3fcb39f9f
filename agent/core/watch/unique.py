"""What no host can see: that another ExternalWorkload has its address and port, or its SPIFFE ID."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from agent.core import addresses
from agent.core.conditions import Word
from agent.core.facts import Condition
from agent.core.reasons import REGISTRY, Reason
from agent.core.watch.fleet import UNIQUE, Name, WorkloadSeen

NAMED = 3  # others in a message
Endpoint: TypeAlias = tuple[addresses.Address | str, int]


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


def shared(workloads: Mapping[Name, WorkloadSeen]) -> dict[Name, Shared]:
    """An address and port in common comes first: clients get errors by it."""
    by_identity = _others(_by_identity(workloads).values(), Reason.SPIFFE_ID_SHARED)
    return by_identity | _others(_by_endpoint(workloads).values(), Reason.ENDPOINT_SHARED)


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
