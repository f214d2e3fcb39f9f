"""Who may connect to a host, and whom a host may connect to: Servers, policies, networks."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from agent.core.doctor.check import Outcome, fail, ok, unknown, warn
from agent.core.doctor.cluster.seen import Authentication, Policy, Server, Workload, titles
from agent.core.late import dataclass

_EXACT = "list each host's exact SPIFFE ID under identities: patterns and ServiceAccounts never match one"
_IDENTITIES = frozenset({"all-authenticated", "cluster-authenticated"})


@dataclass(frozen=True)
class Guarded:
    """`servers`, `policies`: of the namespace. `default`: the cluster's default policy; "": not known."""

    workload: Workload
    servers: Sequence[Server]
    policies: Sequence[Policy] = ()
    default: str = ""

    @property
    def meeting(self) -> list[Server]:
        return [one for one in self.servers if one.meets(self.workload)]

    @property
    def by_default(self) -> str:
        return self.workload.default_policy or self.default or "the cluster's"


def servers(seen: Guarded) -> Outcome:
    """Which Server decides about each port."""
    said, twice = list[str](), list[str]()
    for port in seen.workload.ports:
        found = sorted(
            (one for one in seen.meeting if one.port in (port.port, port.name or None)),
            key=lambda one: (one.created, one.name),
        )
        said.append(f"{port}: {f'Server {found[0].name}' if found else f'default policy {seen.by_default}'}")
        if len(found) > 1:
            twice.append(f"{port}: {', '.join(one.name for one in found)}")
    if twice:
        why = f"several Servers select the same port, of which the oldest counts: {'; '.join(twice)}"
        return warn(why, "keep one Server for each port")
    return ok("; ".join(said) or "it has no port")


def admitted(seen: Guarded) -> Outcome:
    """Whether anybody may connect, and whether another host ever may."""
    if not seen.meeting:
        return _by_default(seen)
    closed = [one for one in seen.meeting if one.access == "deny" and not _of(one, seen.policies)]
    if closed:
        why = f"no AuthorizationPolicy admits a client to Server {titles(one.name for one in closed)}"
        return fail(why, "fairlead manifest prints a policy that admits clients by their identities")
    if never := list(_never(seen)):
        return warn(f"pods may connect, and another host never can: {'; '.join(never)}", _EXACT)
    return ok("each Server admits clients")


def _by_default(seen: Guarded) -> Outcome:
    policy = seen.by_default
    if policy == "deny":
        why = "the default policy is deny, and no Server selects it: no client may connect"
        return fail(why, "fairlead manifest prints a Server and a policy for each port")
    if policy in _IDENTITIES:
        why = f"the default policy {policy} never admits another host: it does not match SPIFFE IDs"
        return warn(why, "for hosts as clients: a Server, and a policy with their exact IDs")
    return ok(f"no Server selects it: the default policy {policy} applies")


def _of(server: Server, policies: Sequence[Policy]) -> list[Policy]:
    return [one for one in policies if one.target in (("Server", server.name), ("Namespace", ""))]


def _never(seen: Guarded) -> Iterator[str]:
    """Servers whose policies all have an authentication that no SPIFFE ID can satisfy."""
    for server in seen.meeting:
        found = _of(server, seen.policies)
        refusing = [[one for one in policy.required if not one.admits_a_host] for policy in found]
        if found and all(refusing):
            why = titles({f"{one.kind} {one.name}" for each in refusing for one in each})
            yield f"Server {server.name} by {why}"


def patterns(seen: Sequence[Authentication]) -> Outcome:
    """Of the whole cluster: what no host passes."""
    never = sorted(f"{one.kind} {one.namespace}/{one.name}" for one in seen if not one.admits_a_host)
    if not never:
        return ok("each MeshTLSAuthentication has a SPIFFE ID, or there is none")
    more = f" and {len(never) - 5} more" if len(never) > 5 else ""
    return warn(
        f"hosts as clients never pass {', '.join(never[:5])}{more}", f"for services that hosts call, {_EXACT}"
    )


@dataclass(frozen=True)
class Source:
    """`networks`: the cluster's clusterNetworks. `default`: its default policy."""

    workload: Workload
    default: str
    networks: Sequence[str]


def source(seen: Source) -> Outcome:
    if not seen.networks:
        return unknown("the cluster's clusterNetworks are not known")
    networks = [ip_network(one, strict=False) for one in seen.networks]
    outside = [one for one in seen.workload.addresses if not any(ip_address(one) in net for net in networks)]
    if not outside:
        return ok("its addresses are in the cluster's clusterNetworks")
    why = f"{', '.join(outside)} is outside clusterNetworks"
    if not seen.default.startswith("cluster-"):
        return ok(f"{why}, which the default policy {seen.default or 'of this cluster'} does not ask for")
    fix = "add its network to clusterNetworks of Linkerd, or give the services that it calls a Server and a policy"
    return warn(f"{why}: the default policy {seen.default} refuses it as a client", fix)
