"""What a host has to know about the cluster, found out from here. Each value can be given instead."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from agent.adapters.kube import calls
from agent.adapters.kube.access import Access
from agent.adapters.kube.json_values import text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.refused import by_the_server, refused
from agent.core import addresses
from agent.core.enrol.joining import Mesh
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble

_CONFIG, _ROOTS, _BUNDLE = "linkerd-config", "linkerd-identity-trust-roots", "ca-bundle.crt"
_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
_RANGE = re.compile(r"range of valid IPs is ([0-9a-fA-F:.]+/[0-9]+)")
_NOWHERE = "192.0.2.1"  # a documentation address, in no cluster's service network
_ANY_ANSWER = (Reason.API_FORBIDDEN, Reason.API_UNAUTHORIZED, Reason.API_REFUSED, Reason.WORKLOAD_MISSING)


@dataclass(frozen=True)
class Given:
    """What the operator gave; "" and () for what is to be found out. `authority`, `anchors`: PEM."""

    linkerd: str = "linkerd"
    server: str = ""
    authority: str = ""
    anchors: str = ""
    cluster_domain: str = ""
    trust_domain: str = ""
    service_networks: tuple[str, ...] = ()


async def look(api: Objects, access: Access, given: Given, namespace: str) -> Mesh:
    """`namespace`: one that exists. Raises Refused."""
    server, authority = await _server(access, given)
    cluster_domain, trust_domain = await _domains(api, given)
    return Mesh(
        linkerd=given.linkerd,
        server=server,
        authority=authority,
        anchors=given.anchors or await _anchors(api, given.linkerd),
        cluster_domain=cluster_domain,
        trust_domain=trust_domain,
        service_networks=given.service_networks or await _service_networks(api, namespace),
    )


class _Anonymous:
    """Implements Credential: no proof at all."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def access(self) -> Access:
        return self._access

    def refused(self, said: str) -> Fault:
        return Fault(Reason.API_UNAUTHORIZED, said)

    def about(self) -> dict[str, Any]:
        return {"kind": "none"}

    async def close(self) -> None:
        """It holds nothing."""


async def _server(access: Access, given: Given) -> tuple[str, str]:
    """Address and authority for hosts, once the address has answered here."""
    server, authority = given.server or access.server, given.authority or access.authority.decode(errors="replace")
    if given.server or given.authority:
        await _try(server, authority)
    elif access.server_name:
        cause = f"the kubeconfig dials {access.server} under the name {access.server_name}"
        raise refused(
            cause, "give the address by which hosts reach the API server: --api-server https://HOST:PORT"
        )
    if not given.server and _is_loopback(server):
        remedy = "give the address by which hosts reach the API server: --api-server https://HOST:PORT"
        raise refused(f"hosts cannot reach the API server at {server}", remedy)
    return server.rstrip("/"), authority


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _try(server: str, authority: str) -> None:
    """Any HTTP answer will do: the TLS before it is what is tried."""
    caller = calls.Caller(
        _Anonymous(Access(server, authority.encode(), "cannot use --api-ca")), "fairlead", 8.0, 8.0
    )
    try:
        await caller.call("GET", "/version", Reason.WORKLOAD_MISSING)
    except Trouble as trouble:
        if trouble.reason not in _ANY_ANSWER:
            remedy = "correct --api-server or --api-ca: both were tried from here"
            raise refused(f"cannot use the API server {server}: {trouble.detail}", remedy) from None
    except ValueError as error:
        raise refused(str(error), "write --api-server https://HOST:PORT") from None
    finally:
        await caller.close()


async def _config_map(api: Objects, linkerd: str, name: str, key: str) -> str:
    """ "" if it does not exist. Raises Refused."""
    try:
        found = await api.get(f"/api/v1/namespaces/{linkerd}/configmaps/{name}")
    except Trouble as trouble:
        raise by_the_server(f"read ConfigMap {linkerd}/{name}", trouble) from None
    return text((found or {}).get("data") or {}, key)


async def _domains(api: Objects, given: Given) -> tuple[str, str]:
    if given.cluster_domain and given.trust_domain:
        return given.cluster_domain, given.trust_domain
    values = _values(await _config_map(api, given.linkerd, _CONFIG, "values"))
    cluster = given.cluster_domain or str(values.get("clusterDomain") or "")
    if not cluster:
        cause = f"ConfigMap {given.linkerd}/{_CONFIG} does not say what the cluster's domain is"
        raise refused(cause, "give --linkerd-namespace, or --cluster-domain")
    return cluster, given.trust_domain or str(values.get("identityTrustDomain") or cluster)


def _values(document: str) -> Mapping[str, Any]:
    import yaml  # a CLI's start is not delayed by it

    try:
        tree = yaml.safe_load(document)
    except yaml.YAMLError:
        return {}
    return tree if isinstance(tree, dict) else {}


async def _anchors(api: Objects, linkerd: str) -> str:
    if found := await _config_map(api, linkerd, _ROOTS, _BUNDLE):
        return found
    raise refused(f"ConfigMap {linkerd}/{_ROOTS} has no {_BUNDLE}", "give --linkerd-namespace, or --anchors FILE")


async def _service_networks(api: Objects, namespace: str) -> tuple[str, ...]:
    """From ServiceCIDRs (Kubernetes 1.33), else from the refusal of a Service with an address outside."""
    found: list[str] = []
    try:
        async for body in api.items(_CIDRS):
            spec = body.get("spec") or {}
            found += [str(cidr) for cidr in spec.get("cidrs", [])]
    except Absent:
        found = []
    except Trouble as trouble:
        raise by_the_server("list ServiceCIDRs", trouble) from None
    found = found or await _by_a_refusal(api, namespace)
    networks = dict.fromkeys(str(addresses.network(cidr)) for cidr in found)
    if not networks:
        raise refused("the service network of the cluster is not known", "give it: --service-network CIDR")
    return tuple(networks)


async def _by_a_refusal(api: Objects, namespace: str) -> list[str]:
    body = {
        "metadata": {"name": "fairlead-which-network"},
        "spec": {"clusterIP": _NOWHERE, "ports": [{"port": 80}]},
    }
    try:
        await api.create(f"/api/v1/namespaces/{namespace}/services", body, dry=True)
    except Trouble as trouble:
        return _RANGE.findall(trouble.detail)
    return []
