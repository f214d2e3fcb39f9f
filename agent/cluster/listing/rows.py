"""One host as a row: from its ExternalWorkload, its Lease and what the watcher holds back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.adapters.kube.json_values import ZONE, Json, part, parts, text
from agent.core.conditions import READY
from agent.core.enrol.group import HASH, digest
from agent.core.reasons import Reason
from agent.core.watch.fleet import GROUP, Name
from agent.core.watch.guard import Pace

HELD = {Pace.SLOW: Reason.ZONE_GUARDED, Pace.HELD: Reason.FLEET_SILENT}


@dataclass(frozen=True)
class Row:
    """`ready`: "" where no condition says. `since`, `renewed`, `svid_ends`: as the host or the watcher wrote them.
    `held`: why a silent host is still in load balancing. `template`: "current" or "outdated" by its group, ""
    without one that is known."""

    namespace: str
    name: str
    group: str = ""
    zone: str = ""
    ready: str = ""
    reason: str = ""
    since: str = ""
    addresses: tuple[str, ...] = ()
    agent: str = ""
    proxy: str = ""
    svid_ends: str = ""
    renewed: str = ""
    held: str = ""
    template: str = ""

    @property
    def serves(self) -> bool:
        return self.ready == "True" and not self.held


def rows(
    workloads: Mapping[Name, Json],
    leases: Mapping[Name, Json],
    groups: Mapping[Name, Json],
    paces: Mapping[str, Pace],
    now: float,
) -> Iterator[Row]:
    """`now`: seconds since the epoch."""
    templates = {name: digest(part(group, "spec")) for name, group in groups.items()}
    for name, workload in sorted(workloads.items()):
        row = _row(name, workload, leases.get(name), paces, now)
        yield replace(row, template=_template(workload, templates.get((name[0], row.group), "")))


def _template(workload: Json, wanted: str) -> str:
    """`wanted`: the digest of its group's template; "": there is none to compare."""
    if not wanted:
        return ""
    made_by = text(part(part(workload, "metadata"), "annotations"), HASH)
    return "current" if made_by == wanted else "outdated"


def _row(name: Name, workload: Json, lease: Json | None, paces: Mapping[str, Pace], now: float) -> Row:
    meta, labels = part(workload, "metadata"), part(part(workload, "metadata"), "labels")
    found = [one for one in parts(part(workload, "status"), "conditions") if text(one, "type") == READY]
    ready = found[0] if found else {}
    zone, spec = text(labels, ZONE), part(workload, "spec")
    noted = part(part(lease or {}, "metadata"), "annotations")
    silent = text(ready, "status") == "True" and lease is not None and _overdue(lease, now)
    owned = lease is None or _owned(lease, text(meta, "uid"))
    return Row(
        namespace=name[0],
        name=name[1],
        group=text(labels, GROUP),
        zone=zone,
        ready=text(ready, "status"),
        reason=text(ready, "reason"),
        since=text(ready, "lastTransitionTime"),
        addresses=tuple(text(one, "ip") for one in parts(spec, "workloadIPs")),
        agent=text(noted, "fairlead.dev/agent-version"),
        proxy=text(noted, "fairlead.dev/proxy-version"),
        svid_ends=text(noted, "fairlead.dev/svid-expires"),
        renewed=text(part(lease or {}, "spec"), "renewTime") if owned else "",
        held=HELD[paces[zone]].value if silent and zone in paces else "",
    )


def _owned(lease: Json, uid: str) -> bool:
    owners = [text(one, "uid") for one in parts(part(lease, "metadata"), "ownerReferences")]
    return not owners or uid in owners


def _overdue(lease: Json, now: float) -> bool:
    spec = part(lease, "spec")
    at, duration = moment(text(spec, "renewTime")), spec.get("leaseDurationSeconds")
    return at is not None and isinstance(duration, int) and now - at > duration


def moment(stamp: str) -> float | None:
    """Seconds since the epoch; None: not a time."""
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None


def paces(annotation: str) -> dict[str, Pace]:
    """What the watcher wrote about zones into its own Lease. Raises ValueError: something else is there."""
    found = json.loads(annotation or "{}")
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return {str(zone): Pace(pace) for zone, pace in found.items() if Pace(pace) is not Pace.NORMAL}
