"""The tables and keys of the file, and the checks between them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.config import checks, monitoring, redirects
from agent.config import shape as c
from agent.config.checks import choice, each, integer, matching, network, path, seconds
from agent.config.reader import Table
from agent.core import spiffe
from agent.core.late import replace
from agent.core.probe import ProbeKind, ProbeSpec, exec_unit

NEEDS_CLUSTER_NETWORKS = frozenset({"cluster-authenticated", "cluster-unauthenticated", "audit"})
LONGEST_TTL = 86400
POLICIES = ("all-unauthenticated", "all-authenticated", "deny", *sorted(NEEDS_CLUSTER_NETWORKS))


def read(tree: Mapping[str, object]) -> c.Config:
    problems: list[c.Problem] = []
    root = Table(tree, "", problems)
    host = _host(root.table("host"))
    identity = _identity(root.table("identity"))
    config = c.Config(
        workload=_workload(root.table("workload"), identity.mode),
        host=host,
        identity=identity,
        api=_api(root.table("api")),
        proxy=_proxy(root.table("proxy")),
        control_plane=_control_plane(root.table("control_plane")),
        redirect=_redirect(root.table("redirect")),
        probes=_probes(root.tables("probe"), host.addresses, problems),
        drain=_drain(root.table("drain")),
        ready=_ready(root.table("ready")),
        metrics=_metrics(root.table("metrics")),
        socket=_socket(root.table("socket")),
    )
    root.close()
    if not problems:
        config = _named(config)
        problems += _across(config)
    if problems:
        raise c.ConfigError(tuple(problems))
    return config


def _workload(t: Table, mode: str) -> c.WorkloadConfig:
    by_token = mode == "token"
    for key in ("identity", "server_name") if by_token else ():
        remedy = "remove it: the name follows from identity.service_account"
        t.refuse(key, 'does not belong to identity.mode = "token"', remedy)
    workload = c.WorkloadConfig(
        name=t.take("name", checks.object_name),
        namespace=t.take("namespace", checks.dns_label),
        identity="" if by_token else t.take("identity", checks.spiffe_id),
        server_name="" if by_token else t.take("server_name", checks.dns_name),
        ports=t.take("ports", each(checks.declared_port), ()),
        opaque_ports=t.take("opaque_ports", each(checks.declared_port), ()),
    )
    for port in sorted(set(workload.opaque_ports or ()) - set(workload.ports or ())):
        t.problem("opaque_ports", f"{port} is not among workload.ports", "declare it there too, or remove it here")
    t.close()
    return workload


def _named(config: c.Config) -> c.Config:
    """With Linkerd's name of the service account, if that is this host's identity."""
    if config.identity.mode != "token":
        return config
    from agent.core import token

    workload, control = config.workload, config.control_plane
    domain = control.trust_domain or control.cluster_domain
    name = token.identity(config.identity.service_account, workload.namespace, control.namespace, domain)
    return replace(config, workload=replace(workload, identity=name, server_name=name))


def _host(t: Table) -> c.HostConfig:
    host = c.HostConfig(
        addresses=t.take("addresses", checks.addresses),
        address_translated=t.take("address_translated", checks.boolean, False),
    )
    t.close()
    return host


def _identity(t: Table) -> c.IdentityConfig:
    d = c.IdentityConfig(trust_anchors="")
    mode = t.take("mode", choice("spiffe", "token"), d.mode)
    identity = c.IdentityConfig(
        trust_anchors=t.take("trust_anchors", path),
        **_proof(t, mode, d),
        anchors_source=t.take("anchors_source", choice("file", "cluster", "workload-api"), d.anchors_source),
        anchors_follow=t.take("anchors_follow", checks.boolean, d.anchors_follow),
        anchors_window=t.take("anchors_window", seconds(0, 7 * 86400), d.anchors_window),
    )
    t.close()
    return identity


def _proof(t: Table, mode: str, d: c.IdentityConfig) -> dict[str, Any]:
    """The keys that belong to the mode."""
    keys: dict[str, tuple[Any, ...]] = {
        "workload_api": (path,),
        "hint": (matching(r"[ -~]+", "a hint in plain ASCII", 1024), d.hint),
        "service_account": (checks.dns_label,),
        "token_file": (checks.credential, d.token_file),
    }
    own = ("service_account", "token_file") if mode == "token" else ("workload_api", "hint")
    for key in keys.keys() - set(own):
        t.refuse(key, f"does not belong to mode = {mode!r}", "remove it, or choose identity.mode")
    return {"mode": mode, **{key: t.take(key, *keys[key]) for key in own}}


_OPTIONAL = ("identity", "context")  # keys of a kind of authentication that may be left out
# Which keys belong to which kind of authentication.
_WAYS: Mapping[str, tuple[str, ...]] = {
    "spiffe": ("server", "ca", "audience", "identity"),
    "token-file": ("server", "ca", "token_file"),
    "kubeconfig": ("kubeconfig", "context"),
}


def _api(t: Table) -> c.ApiConfig:
    keys = {
        "server": checks.server,
        "ca": path,
        "audience": matching(r"[!-~]+", "an audience"),
        "identity": checks.user_id,
        "token_file": checks.credential,
        "kubeconfig": checks.credential,
        "context": checks.text,
    }
    auth = t.take("auth", choice(*_WAYS), c.ApiConfig.auth)
    own = _WAYS[auth]
    api = c.ApiConfig(
        auth,
        **{k: t.take(k, keys[k], *([""] if k in _OPTIONAL else ())) for k in own},
        lease_period=t.take("lease_period", seconds(5, 60), c.ApiConfig.lease_period),
    )
    for key in keys.keys() - set(own):
        t.refuse(key, f"does not belong to auth = {auth!r}", "remove it, or choose api.auth: only one is used")
    t.close()
    return api


def _proxy(t: Table) -> c.ProxyConfig:
    d = c.ProxyConfig()
    proxy = c.ProxyConfig(
        binary=t.take("binary", path, d.binary),
        version=t.take("version", checks.version, d.version),
        user=t.take("user", checks.user, d.user),
        log=t.take("log", matching(r"[\w:=,\[\]{}.\"-]+", "a log filter"), d.log),
        log_format=t.take("log_format", choice("plain", "json"), d.log_format),
        cores=t.take("cores", integer(1, 1024), d.cores),
        grace=t.take("grace", integer(1, 3600), d.grace),
        ready_within=t.take("ready_within", seconds(5, 3600), d.ready_within),
        default_inbound_policy=t.take("default_inbound_policy", choice(*POLICIES), d.default_inbound_policy),
        runtime=t.take("runtime", choice("auto", "unit", "child"), d.runtime),
        slots=t.take("slots", checks.boolean, d.slots),
        standby=t.take("standby", checks.boolean, d.standby),
        slot_network=t.take("slot_network", checks.slot_network, d.slot_network),
        environment=t.take("environment", checks.proxy_variables, d.environment),
    )
    t.close()
    return proxy


def _control_plane(t: Table) -> c.ControlPlaneConfig:
    d = c.ControlPlaneConfig()
    controllers = c.ControlPlaneConfig(
        namespace=t.take("namespace", checks.dns_label, d.namespace),
        cluster_domain=t.take("cluster_domain", checks.dns_name, d.cluster_domain),
        trust_domain=t.take("trust_domain", checks.dns_name, d.trust_domain),
        destination=t.take("destination", checks.host_port, d.destination),
        policy=t.take("policy", checks.host_port, d.policy),
        identity=t.take("identity", checks.host_port, d.identity),
        cluster_networks=t.take("cluster_networks", each(network), ()),
    )
    t.close()
    return controllers


def _redirect(t: Table) -> c.RedirectConfig:
    d = c.RedirectConfig()
    redirect = c.RedirectConfig(
        mode=t.take("mode", choice("declared", "linkerd-guide", "off"), d.mode),
        inbound=t.take("inbound", choice("declared", "all", "off"), d.inbound),
        outbound=t.take("outbound", choice("networks", "all", "uids", "off"), d.outbound),
        outbound_networks=t.take("outbound_networks", each(network), ()),
        outbound_uids=t.take("outbound_uids", each(checks.account), ()),
        exempt=t.take("exempt", each(checks.endpoint), ()),
        inbound_except_ports=t.take("inbound_except_ports", each(checks.port_range), ()),
        inbound_except_networks=t.take("inbound_except_networks", each(network), ()),
        inbound_except_interfaces=t.take("inbound_except_interfaces", each(checks.interface), ()),
        outbound_except_ports=t.take("outbound_except_ports", each(checks.port_range), ()),
        outbound_except_networks=t.take("outbound_except_networks", each(network), ()),
        outbound_except_interfaces=t.take("outbound_except_interfaces", each(checks.interface), ()),
        outbound_except_uids=t.take("outbound_except_uids", each(checks.account), ()),
        outbound_except_gids=t.take("outbound_except_gids", each(checks.account), ()),
        force=t.take("force", checks.yes_or_no, d.force),
        backend=t.take("backend", choice("auto", "nftables", "iptables-nft", "iptables-legacy"), d.backend),
        inbound_failure=t.take("inbound_failure", choice("closed", "open", d.inbound_failure), d.inbound_failure),
        outbound_failure=t.take("outbound_failure", choice("closed", "open"), d.outbound_failure),
    )
    t.close()
    return redirect


def _metrics(t: Table) -> c.MetricsConfig:
    d = c.MetricsConfig()
    metrics = c.MetricsConfig(
        listen=t.take("listen", monitoring.listen, d.listen), plain=t.take("plain", checks.boolean, d.plain)
    )
    t.close()
    return metrics


def _socket(t: Table) -> c.SocketConfig:
    socket = c.SocketConfig(operators=t.take("operators", checks.account, c.SocketConfig().operators))
    t.close()
    return socket


def _drain(t: Table) -> c.DrainConfig:
    d = c.DrainConfig()
    drain = c.DrainConfig(
        settle=t.take("settle", seconds(0, 300), d.settle),
        timeout=t.take("timeout", seconds(1, 3600), d.timeout),
    )
    t.close()
    return drain


def _ready(t: Table) -> c.ReadyConfig:
    ready = c.ReadyConfig(wait=t.take("wait", seconds(1, 3600), c.ReadyConfig().wait))
    t.close()
    return ready


def _probes(
    tables: Sequence[Table], hosts: Sequence[c.Address] | None, problems: list[c.Problem]
) -> tuple[ProbeSpec, ...]:
    probes = tuple(_probe(t, str(hosts[0]) if hosts else "") for t in tables)
    names = [p.name for p in probes]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(c.Problem("probe", f"two probes have the name {name!r}", "give each a different name"))
    return probes


def _probe(t: Table, host: str) -> ProbeSpec:
    kind: ProbeKind = t.take("kind", choice("http", "tcp", "grpc", "exec", "systemd", "push"), "http")
    name = matching(r"[A-Za-z0-9._-]+", "a probe's name", 63)
    d = ProbeSpec("", kind)
    target: dict[str, Any] = {}
    if kind in ("http", "tcp", "grpc"):
        target = {"host": t.take("host", checks.ip, host), "port": t.take("port", integer(1, 65535))}
    match kind:
        case "http":
            target["path"] = t.take("path", matching(r"/[!-~]*", "a path that begins with /", 1024), d.path)
            target["scheme"] = t.take("scheme", checks.scheme, d.scheme)
            target["headers"] = t.take("headers", checks.headers, d.headers)
        case "grpc":
            target["service"] = t.take("service", matching(r"[A-Za-z0-9._/-]+", "a gRPC service", 127), d.service)
        case "exec":
            target["unit"] = t.take("unit", checks.unit, d.unit)
            target["command"] = t.take("command", checks.command, *([d.command] if target["unit"] else []))
        case "systemd":
            target["unit"] = t.take("unit", checks.unit)
        case "push":
            target["ttl"] = t.take("ttl", seconds(1, LONGEST_TTL), d.ttl)
    probe = ProbeSpec(
        name=t.take("name", name, f"{kind}-{target['port']}") if "port" in target else t.take("name", name),
        kind=kind,
        **target,
        **({} if kind == "push" else _rhythm(t, d)),
    )
    if kind == "exec" and probe.unit:
        _one_way_to_run(t, probe)
    t.close()
    return probe


def _one_way_to_run(t: Table, probe: ProbeSpec) -> None:
    if probe.command:
        t.problem("command", "cannot be set together with unit", "keep one of them: the unit names the command")
    if probe.unit != exec_unit(probe.name):
        remedy = f'write unit = "{exec_unit(probe.name)}", which root writes'
        t.problem("unit", f"{probe.unit!r} is not the unit of the probe {probe.name!r}", remedy)


def _rhythm(t: Table, d: ProbeSpec) -> dict[str, Any]:
    rhythm = {
        "initial_delay": t.take("initial_delay", seconds(0, 3600), d.initial_delay),
        "period": t.take("period", seconds(1, 3600), d.period),
        "timeout": t.take("timeout", seconds(0.1, 300), d.timeout),
        "success_threshold": t.take("success_threshold", integer(1, 100), d.success_threshold),
        "failure_threshold": t.take("failure_threshold", integer(1, 100), d.failure_threshold),
        "startup": t.take("startup", checks.boolean, d.startup),
    }
    if rhythm["startup"] and rhythm["success_threshold"] != 1:
        t.problem("success_threshold", "must be 1 for a startup probe, as for kubelet", "leave it out")
    return rhythm


def _across(config: c.Config) -> list[c.Problem]:
    """Problems between keys that are each valid alone."""
    problems = [*redirects.problems(config), *monitoring.problems(config)]
    if config.proxy.default_inbound_policy in NEEDS_CLUSTER_NETWORKS and not config.control_plane.cluster_networks:
        cause = f"{config.proxy.default_inbound_policy!r} needs control_plane.cluster_networks"
        problems.append(
            c.Problem("proxy.default_inbound_policy", cause, "list them; without them the proxy exits at start")
        )
    return [*problems, *_across_slots(config), *_across_mode(config)]


def _across_slots(config: c.Config) -> Iterator[c.Problem]:
    """A slot takes the place of the workload's address. Whether there are slots is not asked here."""
    network, versions = config.proxy.slot_network, {address.version for address in config.host.addresses}
    if config.proxy.slots and network is not None and network.version not in versions:
        (version,) = versions
        cause = f"{network} is of IPv{network.version}, and host.addresses has IPv{version} alone"
        yield c.Problem("proxy.slot_network", cause, "remove it: the default fits")


def _across_mode(config: c.Config) -> Iterator[c.Problem]:
    """The requirements of other tables on the identity mode."""
    if config.identity.mode == "spiffe":
        if config.control_plane.identity:
            cause = "identity.mode = 'spiffe' does not use the identity controller"
            yield c.Problem("control_plane.identity", cause, "remove it")
        if config.api.identity and config.api.identity == config.workload.identity:
            cause = "is workload.identity, with which the proxy's user could write this host's status"
            yield c.Problem("api.identity", cause, 'remove it: the default is workload.identity + "/agent"')
        return
    no_source = "needs SPIFFE's Workload API, which identity.mode = 'token' does not use"
    if config.identity.anchors_source == "workload-api":
        yield c.Problem("identity.anchors_source", no_source, 'choose "file" or "cluster"')
    if config.api.auth == "spiffe":
        yield c.Problem("api.auth", no_source, 'choose "token-file" or "kubeconfig"')
    if (length := len(config.workload.identity)) > spiffe.MOST_IN_WORKLOAD:
        cause = f"gives a name of {length} characters; an ExternalWorkload holds {spiffe.MOST_IN_WORKLOAD}"
        yield c.Problem("identity.service_account", cause, "give the service account a shorter name")
