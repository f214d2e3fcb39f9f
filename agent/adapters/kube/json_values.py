"""What Kubernetes says in JSON, as our values and back. Missing fields are "" or ()."""

import dataclasses
import json
from typing import Any

from agent.core import foreign_edits, opaque
from agent.core.enrol.group import HASH, digest
from agent.core.enrol.objects import RETIRE
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.core.watch.fleet import GROUP, UNIQUE, LeaseSeen, Name, WorkloadSeen
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import NONE, Ledger, Silent
from agent.ports import Event, Lease, Trouble

Json = dict[str, Any]

GROUPS = "/apis/workload.fairlead.dev/v1beta1"
BOOT_ID = "fairlead.dev/boot-id"  # annotation of a Lease, by the agent that renews it
ZONE = "topology.kubernetes.io/zone"

_FIELDS = {
    "type": "type",
    "status": "status",
    "reason": "reason",
    "message": "message",
    "last_transition_time": "lastTransitionTime",
    "last_probe_time": "lastProbeTime",
}


def object(text: bytes) -> Json:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Trouble(Reason.API_FAILING, "an answer that is not JSON") from error
    if not isinstance(value, dict):
        raise Trouble(Reason.API_FAILING, "an answer that is not an object")
    return value


def part(value: Json, key: str) -> Json:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def parts(value: Json, key: str) -> list[Json]:
    parts = value.get(key)
    return [p for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []


def text(value: Json, key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def workload(body: Json) -> Workload:
    meta, spec = part(body, "metadata"), part(body, "spec")
    named = {text(entry, "name"): entry.get("port") for entry in parts(spec, "ports")}
    ports = (entry.get("port") for entry in parts(spec, "ports"))
    addresses = (text(entry, "ip") for entry in parts(spec, "workloadIPs"))
    return Workload(
        uid=text(meta, "uid"),
        resource_version=text(meta, "resourceVersion"),
        identity=text(part(spec, "meshTLS"), "identity"),
        server_name=text(part(spec, "meshTLS"), "serverName"),
        addresses=tuple(filter(None, addresses)),
        ports=tuple(p for p in ports if isinstance(p, int)),
        opaque=opaque.ranges(
            text(part(meta, "annotations"), opaque.ANNOTATION),
            {name: port for name, port in named.items() if isinstance(port, int)},
        ),
        conditions=tuple(_condition(c) for c in parts(part(body, "status"), "conditions")),
        retiring=RETIRE in part(meta, "annotations"),
    )


def _condition(entry: Json) -> Condition:
    return Condition(**{field: text(entry, key) for field, key in _FIELDS.items()})


def condition_json(condition: Condition) -> Json:
    """Without empty fields: the CRD refuses an empty reason or time."""
    return {key: value for field, key in _FIELDS.items() if (value := getattr(condition, field))}


def lists(body: Json, namespace: str, name: str) -> bool:
    """This EndpointSlice has that ExternalWorkload among its ready endpoints. No word of it means ready."""
    wanted = {"kind": "ExternalWorkload", "namespace": namespace, "name": name}
    for endpoint in parts(body, "endpoints"):
        target = part(endpoint, "targetRef")
        if {key: target.get(key) for key in wanted} == wanted and part(endpoint, "conditions").get(
            "ready"
        ) is not False:
            return True
    return False


def lease(body: Json) -> Lease:
    spec, annotations = part(body, "spec"), part(part(body, "metadata"), "annotations")
    duration = spec.get("leaseDurationSeconds")
    return Lease(
        holder=text(spec, "holderIdentity"),
        renew_time=text(spec, "renewTime"),
        duration=duration if isinstance(duration, int) else 0,
        annotations={k: v for k, v in annotations.items() if isinstance(v, str)},
        version=text(part(body, "metadata"), "resourceVersion"),
    )


def name(body: Json) -> Name:
    meta = part(body, "metadata")
    return text(meta, "namespace"), text(meta, "name")


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


WORKLOAD = ("workload.linkerd.io/v1beta1", "ExternalWorkload")
LEASE = ("coordination.k8s.io/v1", "Lease")


def event_json(
    event: Event,
    namespace: str,
    name: str,
    kind: tuple[str, str] = WORKLOAD,
    by: str = "agent",
    instance: str = "",
) -> Json:
    """Regarding that object; so `kubectl describe` shows it. `instance`: of the program that reports it; "": the
    host itself."""
    version, named = kind
    regarding = {"apiVersion": version, "kind": named, "namespace": namespace, "name": name, "uid": event.uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": namespace},
        "eventTime": event.time,
        "reportingController": f"fairlead.dev/{by}",
        "reportingInstance": (instance or name)[:128],
        "action": event.action,
        "reason": event.reason,
        "note": event.note[:1024],
        "type": "Warning" if event.warning else "Normal",
        "regarding": regarding,
    }
