"""What the watcher reads of a fleet's objects, and back. Apart from `json_values`, which each host loads."""

import dataclasses

from agent.adapters.kube.json_values import BOOT_ID, ZONE, Json, lease, part, parts, text, workload
from agent.core import foreign_edits
from agent.core.enrol.group import HASH, digest
from agent.core.watch.fleet import GROUP, UNIQUE, LeaseSeen, WorkloadSeen
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import NONE, Ledger, Silent


def lease_seen(body: Json) -> LeaseSeen:
    meta, seen = part(body, "metadata"), lease(body)
    owners = (text(o, "uid") for o in parts(meta, "ownerReferences") if o.get("kind") == "ExternalWorkload")
    return LeaseSeen(
        uid=text(meta, "uid"),
        version=text(meta, "resourceVersion"),
        duration=seen.duration,
        renewed=bool(seen.renew_time),
        owner=next(owners, ""),
        renewer=f"{seen.holder}/{boot}" if (boot := seen.annotations.get(BOOT_ID)) else "",
    )


def pod_addresses(body: Json) -> list[str]:
    """Those that it has now: of a pod that has ended they are free again."""
    status = part(body, "status")
    ended = text(status, "phase") in ("Succeeded", "Failed")
    return [] if ended else [text(one, "ip") for one in parts(status, "podIPs")]


def node_addresses(body: Json) -> list[str]:
    listed = parts(part(body, "status"), "addresses")
    return [text(one, "address") for one in listed if text(one, "type") in ("InternalIP", "ExternalIP")]


def workload_seen(body: Json) -> WorkloadSeen:
    """Any Ready=True counts: which of two entries a reader takes is its own choice."""
    found, labels = workload(body), part(part(body, "metadata"), "labels")
    return WorkloadSeen(
        uid=found.uid,
        zone=text(labels, ZONE),
        ready=any(c.type == "Ready" and c.status == "True" for c in found.conditions),
        marked=foreign_edits.unreachable(found),
        addresses=found.addresses,
        ports=found.ports,
        identity=found.identity,
        group=text(labels, GROUP),
        unique=next((c for c in found.conditions if c.type == UNIQUE), None),
        template=text(part(part(body, "metadata"), "annotations"), HASH),
        reason=next((c.reason for c in found.conditions if c.type == "Ready"), ""),
        retiring=found.retiring,
    )


def group_seen(body: Json) -> GroupSeen:
    meta = part(body, "metadata")
    generation = _whole(meta, "generation")
    return GroupSeen(
        version=text(meta, "resourceVersion"),
        generation=generation,
        template=digest(part(body, "spec")),
        status=_group_status(part(body, "status")),
        retire_after=_whole(part(part(body, "spec"), "retire"), "after"),
        ledger=ledger(body),
    )


def ledger(group: Json) -> Ledger:
    kept = part(part(group, "status"), "retirement")
    silent = (
        Silent(
            text(one, "name"), text(one, "uid"), text(one, "lease"), _whole(one, "hours"), one.get("due") is True
        )
        for one in parts(kept, "silent")
    )
    return Ledger(tuple(silent), _whole(kept, "granted"), _whole(kept, "rest"))


def ledger_json(ledger: Ledger) -> Json | None:
    """None: an empty one, which is left out."""
    if ledger == NONE:
        return None
    silent = [dataclasses.asdict(one) for one in ledger.silent]
    return {"silent": silent, "granted": ledger.granted, "rest": ledger.rest}


_COUNTS = ("members", "ready", "outdated", "unreachable")


def _group_status(status: Json) -> GroupStatus | None:
    if not {*_COUNTS, "observedGeneration", "reasons"} <= status.keys():
        return None
    return GroupStatus(
        generation=_whole(status, "observedGeneration"),
        members=_whole(status, "members"),
        ready=_whole(status, "ready"),
        outdated=_whole(status, "outdated"),
        unreachable=_whole(status, "unreachable"),
        reasons=tuple((text(one, "reason"), _whole(one, "members")) for one in parts(status, "reasons")),
    )


def group_status_json(status: GroupStatus) -> Json:
    return {
        "observedGeneration": status.generation,
        **{key: getattr(status, key) for key in _COUNTS},
        "reasons": [{"reason": reason, "members": count} for reason, count in status.reasons],
    }


def _whole(value: Json, key: str) -> int:
    number = value.get(key)
    return number if isinstance(number, int) else 0
