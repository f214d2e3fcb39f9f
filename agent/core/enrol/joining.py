"""The bundle of one host: what its configuration has, from the host, the cluster and a few choices."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.core.enrol.bundle import ANCHORS, AUTHORITY, Bundle
from agent.core.enrol.request import Host
from agent.core.late import dataclass

_ETC: Final = "/etc/fairlead"
SOCKET: Final = "/run/spire/agent/public/api.sock"


@dataclass(frozen=True)
class Mesh:
    """The cluster, as hosts reach it. `linkerd`: namespace of the control plane. `authority`, `anchors`: PEM."""

    linkerd: str
    server: str
    authority: str
    anchors: str
    cluster_domain: str
    trust_domain: str
    service_networks: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """`pod_networks`: the cluster's. `exempt`: ADDRESS:PORT pairs that are not redirected, such as SPIRE's
    server. `destination`, `policy`: HOST:PORT of Linkerd's controllers, where hosts do not resolve their names.
    `lease_period`: seconds; 0: as a host's configuration has it by default."""

    pod_networks: tuple[str, ...]
    audience: str = "kubernetes"
    workload_api: str = SOCKET
    exempt: tuple[str, ...] = ()
    destination: str = ""
    policy: str = ""
    lease_period: int = 0
    probes: Sequence[Mapping[str, Any]] = ()


def bundle(host: Host, mesh: Mesh, choices: Choices, made: str) -> Bundle:
    """`made`: now, as `host.clocks.exact_wall` has it."""
    config: dict[str, Any] = {
        "workload": _workload(host),
        "host": {"addresses": list(host.addresses)},
        "identity": {"workload_api": choices.workload_api, "trust_anchors": f"{_ETC}/{ANCHORS}"},
        "api": _api(host, mesh, choices),
        "control_plane": _control_plane(mesh, choices),
        "redirect": {
            "outbound_networks": [*choices.pod_networks, *mesh.service_networks],
            **({"exempt": list(choices.exempt)} if choices.exempt else {}),
        },
    }
    if not host.ports:
        config["redirect"]["inbound"] = "off"
    if choices.probes:
        config["probe"] = [dict(probe) for probe in choices.probes]
    return Bundle(made, config, {ANCHORS: mesh.anchors, AUTHORITY: mesh.authority})


def _workload(host: Host) -> dict[str, Any]:
    opaque = [port.port for port in host.ports if port.opaque]
    return {
        "name": host.name,
        "namespace": host.namespace,
        "identity": host.identity,
        "server_name": host.server_name,
        "ports": [port.port for port in host.ports],
        **({"opaque_ports": opaque} if opaque else {}),
    }


def _control_plane(mesh: Mesh, choices: Choices) -> dict[str, Any]:
    return {
        "namespace": mesh.linkerd,
        "cluster_domain": mesh.cluster_domain,
        "trust_domain": mesh.trust_domain,
        "cluster_networks": list(choices.pod_networks),
        **({"destination": choices.destination} if choices.destination else {}),
        **({"policy": choices.policy} if choices.policy else {}),
    }


def _api(host: Host, mesh: Mesh, choices: Choices) -> dict[str, Any]:
    found: dict[str, Any] = {"auth": "token-file" if host.account else "spiffe", "server": mesh.server}
    found["ca"] = f"{_ETC}/{AUTHORITY}"
    if choices.lease_period:
        found["lease_period"] = choices.lease_period
    if host.account:
        return found | {"token_file": f"{_ETC}/token"}
    usual = f"{host.identity}/agent"
    return found | {"audience": choices.audience} | ({} if host.user == usual else {"identity": host.user})
