"""What users of the API server may not write about hosts: the rows of the generated table in docs/security.md.

Each row is one request to a real API server with the shipped files, and its answer. `Rights` says with which role:
that of config/cluster/host.yaml, that of fleet.yaml, or one that allows by mistake everything that a policy has to
refuse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

Json = dict[str, Any]
NAME, OTHER = "vm-1", "vm-2"  # the host, and another one
MACHINE: Final = "machine-1"  # in the host's Lease
NAMESPACE: Final = "$NAMESPACE"  # where the test has them


class User(Enum):
    HOST = "the agent's user"  # api.identity
    PROXY = "the proxy's user"  # the ExternalWorkload's identity
    ACCOUNT = "a host's account"  # fairlead-host-NAME


class Rights(Enum):
    SHIPPED = "of host.yaml"
    FLEET = "of fleet.yaml"
    ALL = "to write all of these objects"


@dataclass(frozen=True)
class Row:
    """`path`: below the namespace's collection of this kind. `said`: in the API server's message."""

    user: User
    attempt: str
    rights: Rights
    method: str
    kind: str
    path: str
    body: Json | None
    status: int
    said: str = ""


def _regarding(name: str, kind: str = "ExternalWorkload", version: str = "workload.linkerd.io/v1beta1") -> Json:
    return {"apiVersion": version, "kind": kind, "name": name, "namespace": NAMESPACE}


def event(about: Json, controller: str = "fairlead.dev/agent") -> Json:
    """Without name and namespace."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "attack-"},
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": controller,
        "reportingInstance": NAME,
        "action": "Attack",
        "reason": "Attack",
        "note": "",
        "type": "Normal",
        "regarding": about,
    }


def core_event(about: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "attack-"},
        "involvedObject": about,
        "reason": "Attack",
        "source": {"component": "attack"},
        "type": "Normal",
    }


_READY: Final[Json] = {
    "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "HostReady", "message": ""}]}
}
_RENEWED: Final[Json] = {"spec": {"holderIdentity": "attack"}}
_SPEAKER: Final[Json] = {"metadata": {"annotations": {"fairlead.dev/host": "somebody"}}}
_MACHINE: Final[Json] = {"metadata": {"annotations": {"fairlead.dev/machine": "another"}}}
_NO_MACHINE: Final[Json] = {"metadata": {"annotations": {"fairlead.dev/machine": None}}}
_SAME_MACHINE: Final[Json] = {"metadata": {"annotations": {"fairlead.dev/machine": MACHINE}}}
_LABELS: Final[Json] = {"metadata": {"labels": {"app": "other"}}}
_OWNER: Final[Json] = {
    "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}
}
_FINALIZER: Final[Json] = {"metadata": {"finalizers": ["example.org/never"]}}
_SPEC: Final[Json] = {"spec": {"ports": []}}
_ME, _AGENT, _POD = _regarding(NAME), _regarding("agent"), _regarding("p", "Pod", "v1")

EW, LEASES, EVENTS, CORE = "externalworkloads", "leases", "events", "core events"
H, P, A, S, F, M = User.HOST, User.PROXY, User.ACCOUNT, Rights.SHIPPED, Rights.FLEET, Rights.ALL
_STATUS, _OWN_LEASE = "the status of its", "its own Lease only"

ROWS: Final[tuple[Row, ...]] = (
    Row(P, "report the host as ready", S, "PATCH", EW, f"/{NAME}/status", _READY, 403, "cannot patch"),
    Row(P, "renew the host's Lease", S, "PATCH", LEASES, f"/{NAME}", _RENEWED, 403, "cannot patch"),
    Row(P, "record an Event about the host", S, "POST", EVENTS, "", event(_ME), 403, "cannot create"),
    Row(P, "report the host as ready", M, "PATCH", EW, f"/{NAME}/status", _READY, 422, "its own ExternalWorkload"),
    Row(P, "renew the host's Lease", M, "PATCH", LEASES, f"/{NAME}", _RENEWED, 422, _OWN_LEASE),
    Row(H, "report another host as ready", S, "PATCH", EW, f"/{OTHER}/status", _READY, 403, "cannot patch"),
    Row(H, "report another host as ready", M, "PATCH", EW, f"/{OTHER}/status", _READY, 422, "its own External"),
    Row(A, "report another host as ready", M, "PATCH", EW, f"/{OTHER}/status", _READY, 422, "its own External"),
    Row(P, "report the host as ready", F, "PATCH", EW, f"/{NAME}/status", _READY, 403, "cannot patch"),
    Row(H, "report another host as ready", F, "PATCH", EW, f"/{OTHER}/status", _READY, 422, "its own External"),
    Row(H, "change its own labels", M, "PATCH", EW, f"/{NAME}", _LABELS, 422, _STATUS),
    Row(H, "change its own spec", M, "PATCH", EW, f"/{NAME}", _SPEC, 422, _STATUS),
    Row(H, "name another speaker for itself", M, "PATCH", EW, f"/{NAME}", _SPEAKER, 422, _STATUS),
    Row(A, "change its own labels", M, "PATCH", EW, f"/{NAME}", _LABELS, 422, _STATUS),
    Row(H, "delete its ExternalWorkload", S, "DELETE", EW, f"/{NAME}", None, 403, "cannot delete"),
    Row(H, "delete its ExternalWorkload", M, "DELETE", EW, f"/{NAME}", None, 422, _STATUS),
    Row(H, "delete another's ExternalWorkload", M, "DELETE", EW, f"/{OTHER}", None, 422, _STATUS),
    Row(H, "create an ExternalWorkload", M, "POST", EW, "", {}, 422, _STATUS),
    Row(H, "renew another host's Lease", M, "PATCH", LEASES, f"/{OTHER}", _RENEWED, 422, _OWN_LEASE),
    Row(A, "renew another host's Lease", M, "PATCH", LEASES, f"/{OTHER}", _RENEWED, 422, _OWN_LEASE),
    Row(H, "renew another host's Lease", F, "PATCH", LEASES, f"/{OTHER}", _RENEWED, 422, _OWN_LEASE),
    Row(H, "change its Lease's labels", M, "PATCH", LEASES, f"/{NAME}", _LABELS, 422, "may not change labels"),
    Row(H, "change its Lease's owner", M, "PATCH", LEASES, f"/{NAME}", _OWNER, 422, "labels, owner"),
    Row(H, "keep its Lease from deletion", M, "PATCH", LEASES, f"/{NAME}", _FINALIZER, 422, "finalizers"),
    Row(H, "change its own owner", M, "PATCH", EW, f"/{NAME}", _OWNER, 422, _STATUS),
    Row(H, "name another speaker in its Lease", M, "PATCH", LEASES, f"/{NAME}", _SPEAKER, 422, "the annotation"),
    Row(
        *(H, "make its Lease last ten years", S, "PATCH", LEASES, f"/{NAME}"),
        *({"spec": {"leaseDurationSeconds": 315360000}}, 422, "900 seconds at most"),
    ),
    Row(H, "put another machine into its Lease", S, "PATCH", LEASES, f"/{NAME}", _MACHINE, 422, "dev/machine"),
    Row(H, "remove the machine from its Lease", M, "PATCH", LEASES, f"/{NAME}", _NO_MACHINE, 422, "dev/machine"),
    Row(H, "delete its Lease", M, "DELETE", LEASES, f"/{NAME}", None, 422, "neither create nor delete"),
    Row(H, "create a Lease", M, "POST", LEASES, "", {}, 422, "neither create nor delete"),
    Row(H, "record an Event about another host", S, "POST", EVENTS, "", event(_regarding(OTHER)), 422, "regards"),
    Row(H, "record an Event about another host", F, "POST", EVENTS, "", event(_regarding(OTHER)), 422, "its own"),
    Row(H, "record an Event about a host named agent", F, "POST", EVENTS, "", event(_AGENT), 422, "its own"),
    Row(H, "record an Event about another host", M, "POST", EVENTS, "", event(_regarding(OTHER)), 422, "its own"),
    Row(A, "record an Event about another host", M, "POST", EVENTS, "", event(_regarding(OTHER)), 422, "its own"),
    Row(H, "record an Event about a Pod", S, "POST", EVENTS, "", event(_POD), 422, "regards the ExternalWorkload"),
    Row(H, "record an Event about a Pod", M, "POST", CORE, "", core_event(_POD), 422, "reportingController"),
    Row(
        H, "record an Event as the scheduler", S, "POST", EVENTS, "", event(_ME, "scheduler"), 422, "reportingCont"
    ),
    Row(H, "delete an Event", M, "DELETE", EVENTS, "/here", None, 422, "may not delete"),
    Row(
        H,
        "write in another namespace",
        S,
        "PATCH",
        EW,
        f"/../../default/{EW}/{NAME}/status",
        _READY,
        403,
        "cannot",
    ),
)

# What must work, else every row above would hold for a host that can write nothing.
ALLOWED: Final[tuple[Row, ...]] = (
    Row(H, "report itself", S, "PATCH", EW, f"/{NAME}/status", _READY, 200),
    Row(H, "renew its Lease", S, "PATCH", LEASES, f"/{NAME}", _RENEWED, 200),
    Row(H, "write its machine again", S, "PATCH", LEASES, f"/{NAME}", _SAME_MACHINE, 200),
    Row(H, "record an Event about itself", S, "POST", EVENTS, "", event(_ME), 201),
    Row(H, "report itself", F, "PATCH", EW, f"/{NAME}/status", _READY, 200),
    Row(H, "renew its Lease", F, "PATCH", LEASES, f"/{NAME}", _RENEWED, 200),
    Row(H, "record an Event about itself", F, "POST", EVENTS, "", event(_ME), 201),
    Row(A, "report itself", M, "PATCH", EW, f"/{NAME}/status", _READY, 200),
    Row(A, "record an Event about itself", M, "POST", EVENTS, "", event(_ME), 201),
)

_BY: Final[Mapping[int, str]] = {403: "RBAC", 422: "the admission policy"}


def table() -> str:
    lines = [
        "| attacker | attempt | with the right | refused by | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        cells = (row.user.value, row.attempt, row.rights.value, f"{_BY[row.status]} ({row.status})")
        lines.append(f"| {' | '.join(cells)} | `test_attack_on_the_api_server` |")
    return "\n".join(lines) + "\n"
