"""The objects of one host in the cluster, in the order in which they are written. As config/cluster has them."""

from collections.abc import Mapping
from typing import Any, Final

from agent.core import opaque
from agent.core.enrol import DRAINED as DRAINED
from agent.core.enrol import RETIRE as RETIRE
from agent.core.enrol.group import HASH
from agent.core.enrol.request import Host

Json = dict[str, Any]

HOST: Final = "fairlead.dev/host"  # the annotation that names the API user
MANAGED_BY: Final[Mapping[str, str]] = {"app.kubernetes.io/managed-by": "fairlead"}
WORKLOADS: Final = "workload.linkerd.io/v1beta1"
_RBAC: Final = "rbac.authorization.k8s.io"


def workload(host: Host) -> Json:
    annotations = {**host.annotations, HOST: host.user}
    if opaque_ports := sorted(port.port for port in host.ports if port.opaque):
        annotations[opaque.ANNOTATION] = ",".join(map(str, opaque_ports))
    return {
        "apiVersion": WORKLOADS,
        "kind": "ExternalWorkload",
        "metadata": _meta(host, host.name, annotations, dict(host.labels)),
        "spec": {
            "meshTLS": {"identity": host.identity, "serverName": host.server_name},
            "workloadIPs": [{"ip": address} for address in host.addresses],
            "ports": [
                {**({"name": port.name} if port.name else {}), "port": port.port, "protocol": "TCP"}
                for port in host.ports
            ],
        },
    }


def lease(host: Host, uid: str) -> Json:
    """`uid`: of the ExternalWorkload; "": it does not exist yet."""
    owner = {"apiVersion": WORKLOADS, "kind": "ExternalWorkload", "name": host.name, "uid": uid}
    made_by = {key: value for key, value in host.annotations.items() if key == HASH}
    metadata = _meta(host, host.name, {HOST: host.user, **made_by}, MANAGED_BY)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata | ({"ownerReferences": [owner]} if uid else {}),
    }


def account(host: Host) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(host, host.role, {}, MANAGED_BY),
        "automountServiceAccountToken": False,
    }


def role(host: Host) -> Json:
    mine = {"resourceNames": [host.name]}
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": _meta(host, host.role, {}, MANAGED_BY),
        "rules": [
            _rule("workload.linkerd.io", "externalworkloads", "get", "watch") | mine,
            _rule("workload.linkerd.io", "externalworkloads/status", "patch") | mine,
            _rule("coordination.k8s.io", "leases", "get", "patch") | mine,
            _rule("discovery.k8s.io", "endpointslices", "list"),
            _rule("events.k8s.io", "events", "create", "patch"),
        ],
    }


def binding(host: Host) -> Json:
    user = {"kind": "User", "apiGroup": _RBAC, "name": host.user}
    made = {"kind": "ServiceAccount", "name": host.role, "namespace": host.namespace}
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": _meta(host, host.role, {}, MANAGED_BY),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": host.role},
        "subjects": [made if host.account else user],
    }


def beside_the_workload(host: Host, uid: str) -> list[Json]:
    """What is written after the ExternalWorkload: the Lease first, so that rights never exist without it."""
    return [lease(host, uid), *([account(host)] if host.account else []), role(host), binding(host)]


VERSIONS: Final[Mapping[str, str]] = {
    "ExternalWorkload": WORKLOADS,
    "Lease": "coordination.k8s.io/v1",
    "ServiceAccount": "v1",
    "Role": f"{_RBAC}/v1",
    "RoleBinding": f"{_RBAC}/v1",
}
_PLURALS: Final = {
    "ExternalWorkload": "externalworkloads",
    "Lease": "leases",
    "ServiceAccount": "serviceaccounts",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


def collection(version: str, kind: str, namespace: str) -> str:
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{group}/namespaces/{namespace}/{_PLURALS[kind]}"


def path(body: Json) -> str:
    """Of an object of this module."""
    meta = body["metadata"]
    return f"{collection(body['apiVersion'], body['kind'], meta['namespace'])}/{meta['name']}"


def title(body: Json) -> str:
    """For people: "Lease shop/db-1"."""
    return f"{body['kind']} {body['metadata']['namespace']}/{body['metadata']['name']}"


def _meta(host: Host, name: str, annotations: Mapping[str, str], labels: Mapping[str, str]) -> Json:
    optional = {"annotations": dict(annotations), "labels": dict(labels)}
    return {"name": name, "namespace": host.namespace} | {key: value for key, value in optional.items() if value}


def _rule(group: str, resource: str, *verbs: str) -> Json:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
