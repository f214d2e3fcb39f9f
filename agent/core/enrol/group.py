"""A WorkloadGroup: what its members are made of."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Final

from agent.core import addresses
from agent.core.enrol import request
from agent.core.enrol.request import Host, Port, Problem
from agent.core.late import dataclass, field

Json = dict[str, Any]
VERSION: Final = "workload.fairlead.dev/v1beta1"
LABEL: Final = "workloadGroup"  # of members
HASH: Final = "fairlead.dev/group-hash"  # annotation of members and their Leases: the template that made them
_TIMES: Final = {
    "initialDelaySeconds": "initial_delay",
    "periodSeconds": "period",
    "timeoutSeconds": "timeout",
    "successThreshold": "success_threshold",
    "failureThreshold": "failure_threshold",
}


@dataclass(frozen=True)
class Group:
    """As the API server gave it, which has checked its shape. `settings`: spec.host."""

    name: str
    namespace: str
    generation: int
    identity: str
    server_name: str
    shared: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ports: tuple[Port, ...]
    networks: tuple[str, ...] = ()
    probes: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def filled(self, template: str, name: str) -> str:
        values = {"{name}": name, "{namespace}": self.namespace, "{group}": self.name}
        for key, value in values.items():
            template = template.replace(key, value)
        return template

    def api_identity(self, name: str) -> str:
        """Of a member that shares its identity: an ID of its own for the API server. "": the usual one."""
        return f"{self.filled(self.identity, name)}/{name}/agent" if self.shared else ""


def path(namespace: str, name: str) -> str:
    return f"/apis/{VERSION}/namespaces/{namespace}/workloadgroups/{name}"


def read(body: Json) -> Group:
    meta, spec = body["metadata"], body["spec"]
    template, mesh = spec["template"], spec["meshTLS"]
    inner = template["metadata"]
    return Group(
        name=meta["name"],
        namespace=meta["namespace"],
        generation=meta.get("generation", 0),
        identity=mesh["identity"],
        server_name=mesh.get("serverName", ""),
        shared=bool(mesh.get("shared")),
        labels={**inner.get("labels", {}), LABEL: meta["name"]},
        annotations={**inner.get("annotations", {}), HASH: digest(spec)},
        ports=tuple(
            Port(one["port"], one.get("name", ""), bool(one.get("opaque"))) for one in template["spec"]["ports"]
        ),
        networks=tuple(spec.get("networks", ())),
        probes=tuple(_probe(one) for one in template["spec"].get("probes", ())),
        settings=spec.get("host", {}),
        digest=digest(spec),
    )


def body(group: Group) -> Json:
    """As `read` takes it, without the digest."""
    ports = [
        {
            **({"name": one.name} if one.name else {}),
            "port": one.port,
            **({"opaque": True} if one.opaque else {}),
        }
        for one in group.ports
    ]
    optional = {"networks": list(group.networks), "host": dict(group.settings)}
    name = {"serverName": group.server_name} if group.server_name else {}
    return {
        "apiVersion": VERSION,
        "kind": "WorkloadGroup",
        "metadata": {"name": group.name, "namespace": group.namespace},
        "spec": {
            "template": {
                "metadata": {"labels": dict(group.labels)} if group.labels else {},
                "spec": {"ports": ports},
            },
            "meshTLS": {"identity": group.identity, **name},
            **{key: value for key, value in optional.items() if value},
        },
    }


def template_problems(group: Group) -> Iterator[Problem]:
    """Of a group that the API server has not checked."""
    if not request.is_label(group.name):
        fitting = request.suggestion(group.name).replace(".", "-")[:63].strip("-")
        cause = f"{group.name!r} cannot be a group's name, which is the value of a label"
        yield Problem(cause, f"use {fitting}" if fitting else "use lower-case letters, digits and dashes")
    if group.identity and "{name}" not in group.identity:
        cause = f"the identity {group.identity} has no {{name}}, so that peers cannot tell the members apart"
        yield Problem(cause, "write --identity spiffe://TRUST-DOMAIN/{name}")
    if not group.ports:
        yield Problem("the group has no port", "give --port [NAME=]PORT")
    for text in (*group.networks, *group.settings.get("podNetworks", ())):
        try:
            ip_network(text)
        except ValueError:
            yield Problem(f"{text!r} is not a network", "write it like 192.0.2.0/24")
    identity, server_name = (group.filled(one, "name") for one in (group.identity, group.server_name or "{name}"))
    member = Host("name", group.namespace, (), identity, server_name, group.ports)
    yield from request.common_problems(member)


def problems(group: Group, texts: tuple[str, ...]) -> Iterator[Problem]:
    """About the addresses of a member."""
    networks = [ip_network(text, strict=False) for text in group.networks]
    for text in texts if networks else ():
        try:
            address = addresses.address(text)
        except ValueError:
            continue  # another check names it
        if not any(address in network for network in networks):
            cause = f"{text} is not in the networks of WorkloadGroup {group.namespace}/{group.name}"
            remedy = f"give an address in {', '.join(group.networks)}, or add its network there"
            yield Problem(cause, remedy)


def digest(spec: Json) -> str:
    """Of what members are made of; `networks` and `retire` change no member."""
    content = {key: value for key, value in spec.items() if key not in ("networks", "retire")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _probe(body: Json) -> Json:
    """As fairlead.toml has it."""
    times = {ours: body[theirs] for theirs, ours in _TIMES.items() if theirs in body}
    match body:
        case {"httpGet": dict(http)}:
            scheme = {"scheme": str(http["scheme"]).lower()} if "scheme" in http else {}
            target = {"kind": "http", "port": http["port"], "path": http.get("path", "/"), **scheme}
        case {"grpc": dict(grpc)}:
            service = {"service": grpc["service"]} if grpc.get("service") else {}
            target = {"kind": "grpc", "port": grpc["port"], **service}
        case _:
            target = {"kind": "tcp", "port": body["tcpSocket"]["port"]}
    return {**target, **times}
