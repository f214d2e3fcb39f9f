"""What each key of the configuration may be. Part of `agent.config`: same law, nothing of the host is touched.

A check takes the raw TOML value and returns the value to keep, or raises Bad; the reader goes on with the
next key, so that one run names every problem.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from agent import config as c
from agent.core.probe import ProbeKind, ProbeSpec

T = TypeVar("T")
Check = Callable[[object], T]
_REQUIRED: Final[Any] = object()

PROXY_PORTS: Mapping[int, str] = {4140: "outbound", 4143: "inbound", 4190: "tap", 4191: "admin"}
BROKEN_WITH_SPIRE = ((2, 329), (2, 330))  # facts §0.10
NEEDS_CLUSTER_NETWORKS = frozenset({"cluster-authenticated", "cluster-unauthenticated", "audit"})
POLICIES = ("all-unauthenticated", "all-authenticated", "deny", *sorted(NEEDS_CLUSTER_NETWORKS))


class Bad(Exception):
    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = cause, remedy


# the reader ----------------------------------------------------------------------------------------


class Table:
    """One table of the file. `take` each key, then `close`."""

    def __init__(self, tree: object, path: str, problems: list[c.Problem]) -> None:
        self._path, self._problems = path, problems
        self._known: list[str] = []
        if not isinstance(tree, dict):
            self.problem("", "must be a table", f"write [{path}] and its keys below it")
            tree = {}
        self._tree: dict[str, object] = tree

    def problem(self, key: str, cause: str, remedy: str) -> None:
        dotted = ".".join(part for part in (self._path, key) if part)
        self._problems.append(c.Problem(dotted, cause, remedy))

    def take(self, key: str, check: Check[T], default: T = _REQUIRED) -> T:
        """The checked value, or the default; with a problem noted, anything (it is never used)."""
        self._known.append(key)
        if key not in self._tree:
            if default is _REQUIRED:
                self.problem(key, "is missing", "add it; config/fairlead.toml shows each key with its meaning")
            return self._filler(default)
        try:
            return check(self._tree[key])
        except Bad as bad:
            self.problem(key, bad.cause, bad.remedy)
            return self._filler(default)

    @staticmethod
    def _filler(default: T) -> T:
        return cast(T, None) if default is _REQUIRED else default

    def table(self, key: str) -> "Table":
        self._known.append(key)
        return Table(self._tree.get(key, {}), ".".join(p for p in (self._path, key) if p), self._problems)

    def tables(self, key: str) -> "list[Table]":
        self._known.append(key)
        found = self._tree.get(key, [])
        if not isinstance(found, list):
            self.problem(key, "must be an array of tables", f"write [[{key}]]")
            return []
        return [Table(item, f"{key}[{i}]", self._problems) for i, item in enumerate(found)]

    def close(self) -> None:
        for key in self._tree.keys() - set(self._known):
            near = difflib.get_close_matches(key, self._known, 1)
            self.problem(key, "is not a known key", f"did you mean {near[0]}?" if near else "remove it")


# checks --------------------------------------------------------------------------------------------


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Bad(f"must be a non-empty string, not {value!r}", "put it in quotes")
    if "\0" in value or "\n" in value:
        raise Bad("must not contain line ends or NUL", "write it on one line")
    return value


def matching(pattern: str, what: str, most: int = 253) -> Check[str]:
    def check(value: object) -> str:
        found = text(value)
        if len(found) > most or not re.fullmatch(pattern, found):
            raise Bad(f"{found!r} is not {what}", f"write {what} of at most {most} characters")
        return found

    return check


def integer(low: int, high: int) -> Check[int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Bad(f"must be a whole number from {low} to {high}, not {value!r}", "correct the number")
        return value

    return check


def seconds(low: float, high: float) -> Check[float]:
    def check(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise Bad(f"must be from {low:g} to {high:g} seconds, not {value!r}", "write a number without a unit")
        return float(value)

    return check


def choice(*allowed: str) -> Check[Any]:
    def check(value: object) -> str:
        if value not in allowed:
            raise Bad(f"{value!r} is not one of the choices", "choose from: " + ", ".join(allowed))
        return str(value)

    return check


def each(check: Check[T]) -> Check[tuple[T, ...]]:
    def check_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Bad(f"must be a list, not {value!r}", "put the values in [brackets]")
        found = tuple(check(item) for item in value)
        if len(set(found)) < len(found):
            raise Bad("lists a value twice", "keep one of them")
        return found

    return check_all


def path(value: object) -> str:
    found = text(value).removeprefix("unix:")
    if found.startswith("//"):
        found = "/" + found.lstrip("/")
    if not found.startswith("/") or ".." in found.split("/"):
        raise Bad(f"{value!r} is not an absolute path", "begin it with / and leave out ..")
    return found


def address(value: object) -> c.Address:
    try:
        found = ip_address(text(value))
    except ValueError:
        raise Bad(f"{value!r} is not an IP address", "write it like 192.0.2.10 or 2001:db8::10") from None
    if found.is_loopback or found.is_unspecified or found.is_multicast or found.is_link_local:
        raise Bad(f"{found} is not an address that peers can dial", "write the host's own routable address")
    return found


def addresses(value: object) -> tuple[c.Address, ...]:
    found = each(address)(value)
    versions = [a.version for a in found]
    if not found or len(versions) > len(set(versions)):
        raise Bad("must be one IPv4 address, one IPv6 address, or one of each", "keep what peers should dial")
    return found


def network(value: object) -> c.Network:
    try:
        return ip_network(text(value))
    except ValueError as error:
        raise Bad(f"{value!r} is not a network: {error}", "write it like 10.42.0.0/16") from None


def endpoint(value: object) -> c.Endpoint:
    host, colon, port = text(value).rpartition(":")
    try:
        if not colon or not 0 <= int(port) <= 65535:
            raise ValueError
        return c.Endpoint(ip_address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        raise Bad(f"{value!r} is not ADDRESS:PORT", "write 10.0.0.1:6443 or [fd00::1]:6443; port 0: all") from None


def declared_port(value: object) -> int:
    port = integer(1, 65535)(value)
    if port == 22:
        raise Bad("22 is SSH's port and is never redirected", "remove it")
    if port in PROXY_PORTS:
        raise Bad(f"{port} is the proxy's own {PROXY_PORTS[port]} port", "remove it")
    return port


def spiffe_id(value: object) -> str:
    found = text(value)
    segment = r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+"
    if len(found) > 253 or not re.fullmatch(rf"spiffe://[a-z0-9._-]+(/{segment})+", found):
        raise Bad(f"{found!r} is not a workload's SPIFFE ID", "write spiffe://TRUST-DOMAIN/PATH, 253 at most")
    return found


def server(value: object) -> str:
    parts = urlsplit(text(value))
    try:
        good = parts.scheme == "https" and parts.hostname and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.username:
        raise Bad(f"{value!r} is not the URL of an API server", "write https://HOST:PORT")
    return str(value).rstrip("/")


def user(value: object) -> str:
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if found in ("root", "0"):
        raise Bad("the proxy must not run as root", "give it a user of its own")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}|[1-9][0-9]{0,9}", found):
        raise Bad(f"{value!r} is neither a user name nor a uid", "write the name of the proxy's user")
    return found


def version(value: object) -> str:
    found = matching(r"v?\d+\.\d+\.\d+", "a version like 2.366.0")(value).removeprefix("v")
    if tuple(int(n) for n in found.split(".")[:2]) in BROKEN_WITH_SPIRE:
        raise Bad(f"proxy {found} cannot talk to SPIRE at all", "use 2.331.0 or later")
    return found


LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
dns_label = matching(LABEL, "a DNS label", 63)
dns_name = matching(rf"{LABEL}(\.{LABEL})*\.?", "a DNS name")
object_name = matching(rf"{LABEL}(\.{LABEL})*", "the name of a Kubernetes object")
host_port = matching(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "HOST:PORT")


# the schema ----------------------------------------------------------------------------------------


def read(tree: Mapping[str, object]) -> c.Config:
    problems: list[c.Problem] = []
    root = Table(tree, "", problems)
    host = _host(root.table("host"))
    found = c.Config(
        workload=_workload(root.table("workload")),
        host=host,
        identity=_identity(root.table("identity")),
        api=_api(root.table("api")),
        proxy=_proxy(root.table("proxy")),
        control_plane=_control_plane(root.table("control_plane")),
        redirect=_redirect(root.table("redirect")),
        probes=_probes(root.tables("probe"), host.addresses, problems),
        drain=_drain(root.table("drain")),
    )
    root.close()
    if not problems:
        problems += _across(found)
    if problems:
        raise c.ConfigError(tuple(problems))
    return found


def _workload(t: Table) -> c.WorkloadConfig:
    found = c.WorkloadConfig(
        name=t.take("name", object_name),
        namespace=t.take("namespace", dns_label),
        identity=t.take("identity", spiffe_id),
        server_name=t.take("server_name", dns_name),
        ports=t.take("ports", each(declared_port), ()),
    )
    t.close()
    return found


def _host(t: Table) -> c.HostConfig:
    found = c.HostConfig(addresses=t.take("addresses", addresses))
    t.close()
    return found


def _identity(t: Table) -> c.IdentityConfig:
    found = c.IdentityConfig(
        workload_api=t.take("workload_api", path), trust_anchors=t.take("trust_anchors", path)
    )
    t.close()
    return found


def _api(t: Table) -> c.ApiConfig:
    found = c.ApiConfig(
        server=t.take("server", server), ca=t.take("ca", path), token_file=t.take("token_file", path)
    )
    t.close()
    return found


def _proxy(t: Table) -> c.ProxyConfig:
    d = c.ProxyConfig(binary="")
    found = c.ProxyConfig(
        binary=t.take("binary", path),
        version=t.take("version", version, d.version),
        user=t.take("user", user, d.user),
        log=t.take("log", matching(r"[\w:=,\[\]{}.\"-]+", "a log filter"), d.log),
        log_format=t.take("log_format", choice("plain", "json"), d.log_format),
        cores=t.take("cores", integer(1, 1024), d.cores),
        grace=t.take("grace", integer(1, 3600), d.grace),
        default_inbound_policy=t.take("default_inbound_policy", choice(*POLICIES), d.default_inbound_policy),
    )
    t.close()
    return found


def _control_plane(t: Table) -> c.ControlPlaneConfig:
    d = c.ControlPlaneConfig()
    found = c.ControlPlaneConfig(
        namespace=t.take("namespace", dns_label, d.namespace),
        cluster_domain=t.take("cluster_domain", dns_name, d.cluster_domain),
        trust_domain=t.take("trust_domain", dns_name, d.trust_domain),
        destination=t.take("destination", host_port, d.destination),
        policy=t.take("policy", host_port, d.policy),
        cluster_networks=t.take("cluster_networks", each(network), ()),
    )
    t.close()
    return found


def _redirect(t: Table) -> c.RedirectConfig:
    d = c.RedirectConfig()
    found = c.RedirectConfig(
        mode=t.take("mode", choice("declared", "off"), d.mode),
        outbound_networks=t.take("outbound_networks", each(network), ()),
        exempt=t.take("exempt", each(endpoint), ()),
        inbound_failure=t.take("inbound_failure", choice("closed", "open"), d.inbound_failure),
        outbound_failure=t.take("outbound_failure", choice("closed", "open"), d.outbound_failure),
    )
    t.close()
    return found


def _drain(t: Table) -> c.DrainConfig:
    d = c.DrainConfig()
    found = c.DrainConfig(
        settle=t.take("settle", seconds(0, 300), d.settle),
        timeout=t.take("timeout", seconds(1, 3600), d.timeout),
    )
    t.close()
    return found


def _probes(
    tables: Sequence[Table], hosts: Sequence[c.Address] | None, problems: list[c.Problem]
) -> tuple[ProbeSpec, ...]:
    found = tuple(_probe(t, str(hosts[0]) if hosts else "") for t in tables)
    names = [p.name for p in found]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(c.Problem("probe", f"two probes have the name {name!r}", "give each a name of its own"))
    return found


def _probe(t: Table, host: str) -> ProbeSpec:
    kind: ProbeKind = t.take("kind", choice("http", "tcp"), "http")
    port = t.take("port", integer(1, 65535))
    found = ProbeSpec(
        name=t.take("name", matching(r"[A-Za-z0-9._-]+", "a probe's name", 63), f"{kind}-{port}"),
        kind=kind,
        host=str(t.take("host", ip, cast(Any, host))),
        port=port,
        path=t.take("path", matching(r"/[!-~]*", "a path that begins with /", 1024), "/"),
        period=t.take("period", seconds(1, 3600), 10.0),
        timeout=t.take("timeout", seconds(0.1, 300), 1.0),
        success_threshold=t.take("successThreshold", integer(1, 100), 1),
        failure_threshold=t.take("failureThreshold", integer(1, 100), 3),
    )
    t.close()
    return found


def ip(value: object) -> str:
    try:
        return str(ip_address(text(value)))
    except ValueError:
        raise Bad(f"{value!r} is not an IP address", "leave it out to dial the workload's own address") from None


def _across(found: c.Config) -> list[c.Problem]:
    """Problems between keys that are fine each by itself."""
    problems = []
    if found.redirect.mode == "declared" and not found.workload.ports:
        remedy = 'declare the application\'s ports, or set redirect.mode = "off"'
        problems.append(c.Problem("workload.ports", "declares nothing to redirect", remedy))
    if found.proxy.default_inbound_policy in NEEDS_CLUSTER_NETWORKS and not found.control_plane.cluster_networks:
        cause = f"{found.proxy.default_inbound_policy!r} needs control_plane.cluster_networks"
        problems.append(
            c.Problem("proxy.default_inbound_policy", cause, "list them; without them the proxy exits at start")
        )
    return problems
