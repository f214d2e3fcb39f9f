"""What the watcher says of a WorkloadGroup in its status: a pure function of the hosts that it has read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.core.watch.fleet import Name, WorkloadSeen
from agent.core.watch.retirement import NONE, Ledger

REASONS = 5  # that are named; a group may have as many as members


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """`generation`: of the group whose template was compared. `unreachable`: marked by the watcher. `reasons`: of
    members that are not Ready, the most frequent first, with the number of members that have it."""

    generation: int = 0
    members: int = 0
    ready: int = 0
    outdated: int = 0
    unreachable: int = 0
    reasons: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A WorkloadGroup as read. `template`: the digest that members of the current template have. `status`: None
    where a field is missing. `retire_after`: days; 0: never. `ledger`: of its silent members."""

    version: str
    generation: int
    template: str
    status: GroupStatus | None = None
    retire_after: int = 0
    ledger: Ledger = NONE


def changes(
    groups: Mapping[Name, GroupSeen], workloads: Iterable[tuple[Name, WorkloadSeen]]
) -> Iterator[tuple[Name, GroupStatus]]:
    """Which groups have another status than they should have."""
    members: dict[Name, list[WorkloadSeen]] = {name: [] for name in groups}
    for (namespace, _), seen in workloads:
        if (namespace, seen.group) in members:
            members[namespace, seen.group].append(seen)
    for name, group in sorted(groups.items(), key=lambda item: item[0]):
        if (wanted := status(group, members[name])) != group.status:
            yield name, wanted


def status(group: GroupSeen, members: Iterable[WorkloadSeen]) -> GroupStatus:
    found = list(members)
    reasons = Counter(seen.reason for seen in found if not seen.ready and seen.reason)
    return GroupStatus(
        generation=group.generation,
        members=len(found),
        ready=sum(seen.ready for seen in found),
        outdated=sum(seen.template != group.template for seen in found),
        unreachable=sum(seen.marked and not seen.ready for seen in found),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:REASONS]),
    )
