"""What Kubernetes says in JSON, as our values and back. Missing fields are "" or ()."""

import json
from typing import Any

from agent.core import opaque
from agent.core.enrol import RETIRE
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
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


def name(body: Json) -> tuple[str, str]:
    """Namespace and name."""
    meta = part(body, "metadata")
    return text(meta, "namespace"), text(meta, "name")


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
