"""Retires the members that a WorkloadGroup's status names as due: silent for spec.retire.after days.

The watcher names them and retires none; this program retires them and judges none. What the status says is read
again at the host's own objects first, so a host that is back keeps what it has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.adapters.kube.fleet_values import ledger, workload_seen
from agent.adapters.kube.json_values import GROUPS, Json, name, part, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.refused import Refused, by_the_server
from agent.cluster.enrolment.retiring import NOBODY, Retirement
from agent.core.enrol import objects
from agent.core.enrol.request import Host, Problem
from agent.core.watch.retirement import DAY, Silent
from agent.ports import Trouble


@dataclass(frozen=True)
class Retired:
    """`kept`: how many stay for now. What was gone before counts for neither."""

    done: int = 0
    kept: int = 0

    def __add__(self, other: "Retired") -> "Retired":
        return Retired(self.done + other.done, self.kept + other.kept)


async def retire_due(api: Objects, namespace: str, say: Callable[[str], None], wall: Callable[[], str]) -> Retired:
    """`namespace`: "" for all. Raises Refused, after all others were done."""
    so_far = Retired()
    wrong: list[Problem] = []
    for group in await _groups(api, namespace):
        for silent in _due(group):
            try:
                so_far += await _retire(api, group, silent, say, wall)
            except Refused as refusal:
                wrong += refusal.problems
    if wrong:
        raise Refused(wrong)
    return so_far


async def _groups(api: Objects, namespace: str) -> list[Json]:
    path = f"{GROUPS}/namespaces/{namespace}/workloadgroups" if namespace else f"{GROUPS}/workloadgroups"
    try:
        return [body async for body in api.items(path)]
    except Absent:
        return []
    except Trouble as trouble:
        raise by_the_server("list WorkloadGroups", trouble) from None


def _due(group: Json) -> Iterator[Silent]:
    days = part(part(group, "spec"), "retire").get("after")
    if isinstance(days, int) and days > 0:
        yield from (one for one in ledger(group).silent if one.due and one.hours >= days * DAY)


async def _retire(
    api: Objects, group: Json, silent: Silent, say: Callable[[str], None], wall: Callable[[], str]
) -> Retired:
    """Raises Refused."""
    namespace, named = name(group)
    host = Host(silent.name, namespace, (), "", "")
    try:
        body = await api.get(objects.path(objects.workload(host)))
        lease = await api.get(objects.path(objects.lease(host, "")))
    except Trouble as trouble:
        raise by_the_server(f"read {host.label}", trouble) from None
    if body is None:  # the status is older than that
        say(f"{host.label} is gone already")
        return Retired()
    if why := _spared(body, lease, silent, named):
        say(f"{host.label} stays: {why}")
        return Retired(kept=1)
    say(f"{host.label} has been silent for {silent.hours // DAY} days")
    unrenewed = text(part(lease, "metadata"), "resourceVersion") if lease else ""
    outcome = await Retirement(api, host, say, wall, unrenewed=unrenewed).run(0)
    if outcome.kept:
        say(f"{outcome.kept}; {outcome.remedy}")
    return Retired(kept=1) if outcome.kept else Retired(done=1)


def _spared(body: Json, lease: Json | None, silent: Silent, group: str) -> str:
    """Why it is not retired although its group's status names it; "": it is."""
    seen = workload_seen(body)
    if seen.uid != silent.uid or seen.group != group:
        return "it is another one, or a member of another group"
    if seen.ready:
        return "it is Ready"
    if lease is None:
        return "" if seen.retiring else "its Lease was deleted"
    meta = part(lease, "metadata")
    begun = text(part(meta, "annotations"), objects.HOST) == NOBODY  # by a run that was broken off
    return "" if begun or text(meta, "resourceVersion") == silent.lease else "it has renewed its Lease"
