"""A host's objects with those around it, as a manifest with comments, for people who keep manifests in files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.core.enrol import group as group_of_hosts
from agent.core.enrol import objects
from agent.core.enrol.group import Group
from agent.core.enrol.request import Host, Port, Problem
from agent.core.late import dataclass

Json = dict[str, Any]
_POLICY: Final = "policy.linkerd.io"
SERVER_VERSIONS: Final[Mapping[str, str]] = {"2.15": "v1beta2"}  # by release of Linkerd; others: v1beta3
NEWEST_SERVER: Final = "v1beta3"


@dataclass(frozen=True)
class Part:
    comment: str
    body: Json


def problems(host: Host, clients: Sequence[str]) -> Iterator[Problem]:
    """Beside those of the host."""
    if not host.labels:
        cause = "the host has no label by which a Service and a Server can select it"
        yield Problem(cause, "give --label app=NAME")
    if not host.ports:
        yield Problem("the host has no port", "give --port [NAME=]PORT")
    yield from client_problems(clients)


def client_problems(clients: Sequence[str]) -> Iterator[Problem]:
    for client in clients:
        if "*" in client:
            cause = f"{client!r} is a pattern, which no SPIFFE ID matches"
            yield Problem(cause, "list each client's exact ID")


def parts(host: Host, service: str, clients: Sequence[str], linkerd: str) -> Iterator[Part]:
    """`clients`: identities that may connect; none: every client may, as the default policy says."""
    yield Part(_WORKLOAD, objects.workload(host))
    yield from _around(host, service, clients, linkerd)


def parts_of_group(group: Group, service: str, clients: Sequence[str], linkerd: str) -> Iterator[Part]:
    """The same for hosts that are alike: their WorkloadGroup, and what selects its members."""
    yield Part(_GROUP, group_of_hosts.body(group))
    members = Host(
        name=group.name,
        namespace=group.namespace,
        addresses=(),
        identity=group.identity,
        server_name=group.server_name,
        ports=group.ports,
        labels=group.labels or {group_of_hosts.LABEL: group.name},
    )
    yield from _around(members, service, clients, linkerd)


def _around(host: Host, service: str, clients: Sequence[str], linkerd: str) -> Iterator[Part]:
    yield Part(_SERVICE, _service(host, service))
    if not clients:
        return
    version = SERVER_VERSIONS.get(linkerd, NEWEST_SERVER)
    for port in host.ports:
        yield Part(_SERVER, _server(host, port, version))
    yield Part(_CLIENTS, _clients(host, clients))
    for port in host.ports:
        yield Part(_ALLOWED, _allowed(host, port))


_WORKLOAD = """\
The host as Linkerd knows it. `fairlead enrol` writes the same, and the Lease and the rights that the host needs.
It has no status: the host's agent writes its conditions, and without Ready=True it gets no traffic. An apply with
a status is silently cut: the status is a resource of its own. fairlead.dev/host names the API user that may write
it."""
_GROUP = """\
Hosts that are alike; `fairlead enrol NAME --group` makes each member's ExternalWorkload of it, with the label
workloadGroup. {name} in the identity is the member's, by which peers tell it from the others. Needs
config/cluster/workloadgroup.yaml."""
_SERVICE = """\
How pods reach the host: a Service selects the ExternalWorkloads of its namespace by their labels, as it selects
pods. It may select both."""
_SERVER = """\
From here on only authorized clients may connect to this port. A Server with podSelector never selects a host. The
default of Linkerd applies to ports without a Server."""
_CLIENTS = """\
Who may connect, by exact identity. Patterns (*, *.domain) and all-authenticated never match a SPIFFE ID, such as
those of hosts; pods have NAME.NAMESPACE.serviceaccount.identity.LINKERD-NAMESPACE.TRUST-DOMAIN."""
_ALLOWED = "Allows these clients on that Server."


def _meta(host: Host, name: str) -> Json:
    return {"name": name, "namespace": host.namespace}


def _service(host: Host, name: str) -> Json:
    ports = [{"name": _name(port), "port": port.port, "protocol": "TCP"} for port in host.ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(host, name),
        "spec": {"selector": dict(host.labels), "ports": ports},
    }


def _name(port: Port) -> str:
    return port.name or f"port-{port.port}"


def _server(host: Host, port: Port, version: str) -> Json:
    return {
        "apiVersion": f"{_POLICY}/{version}",
        "kind": "Server",
        "metadata": _meta(host, f"{host.name}-{port.port}"),
        "spec": {
            "externalWorkloadSelector": {"matchLabels": dict(host.labels)},
            "port": port.port,
            **({"proxyProtocol": "opaque"} if port.opaque else {}),
        },
    }


def _clients(host: Host, clients: Sequence[str]) -> Json:
    return {
        "apiVersion": f"{_POLICY}/v1alpha1",
        "kind": "MeshTLSAuthentication",
        "metadata": _meta(host, f"{host.name}-clients"),
        "spec": {"identities": list(clients)},
    }


def _allowed(host: Host, port: Port) -> Json:
    name = f"{host.name}-{port.port}"
    return {
        "apiVersion": f"{_POLICY}/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": _meta(host, name),
        "spec": {
            "targetRef": {"group": _POLICY, "kind": "Server", "name": name},
            "requiredAuthenticationRefs": [
                {"group": _POLICY, "kind": "MeshTLSAuthentication", "name": f"{host.name}-clients"}
            ],
        },
    }
