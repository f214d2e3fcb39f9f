"""linkerd2-proxy from the outside: its environment, and its readings and exits.

Law: pure values. Every rule here is a fact about the proxy's contract (docs/linkerd.md §1-§3). All runtimes use
these rules to start, read and assess a proxy.
"""

import json
import re
from collections.abc import Mapping
from ipaddress import ip_address

from agent.core import control_plane, token
from agent.core.facts import UNKNOWN, Counters, Maybe, ProxyState
from agent.core.late import dataclass
from agent.core.reason import Fault, Reason
from agent.core.slots import Place

INBOUND_PORT = 4143
OUTBOUND_PORT = 4140
ADMIN_PORT = 4191

Listener = tuple[str, int]  # an address and a port that the proxy listens on

# Loopback only: before the first policy answer the admin port serves every client that reaches it.
ADMIN_LISTENER: Listener = ("127.0.0.1", ADMIN_PORT)


class Refused(Exception):
    """The proxy would refuse these settings, or start and not work."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"cannot configure the proxy: {detail}")
        self.fault = Fault(Reason.PROXY_CONFIGURATION_REFUSED, detail)


@dataclass(frozen=True)
class ProxySettings:
    """What the configuration says about the proxy, as plain values. Empty strings and tuples: not set."""

    version: str
    workload: str
    namespace: str
    identity: str  # spiffe://…, or in token mode the same as server_name
    server_name: str
    addresses: tuple[str, ...]  # the workload's own
    workload_api: str  # path of the socket; "" in token mode
    ports: tuple[int, ...] = ()
    opaque_ports: tuple[int, ...] = ()
    log: str = "warn,linkerd=info,hickory=error"
    log_format: str = "plain"
    cores: int = 1
    grace: int = 120  # seconds
    default_inbound_policy: str = "all-unauthenticated"
    control_namespace: str = "linkerd"
    cluster_domain: str = "cluster.local"
    trust_domain: str = ""  # "" = the cluster domain
    destination: str = ""  # host:port; "" = as Linkerd's chart names it
    policy: str = ""
    identity_controller: str = ""
    # Token mode alone: the file with the token, and the folder with key and CSR.
    token_file: str = ""
    identity_folder: str = ""
    cluster_networks: tuple[str, ...] = ()
    slot: Place | None = None  # where it listens; None: the host has one slot
    named: Place | None = None  # where the rules in force lead to; an edited configuration may have another slot
    extra: tuple[tuple[str, str], ...] = ()  # variables by their whole names, each of which may_be_extra

    @property
    def families(self) -> frozenset[int]:
        """The IP versions of the workload's addresses, and so of the redirect and the listeners."""
        return frozenset(ip_address(address).version for address in self.addresses)


PREFIX = "LINKERD2_PROXY_"

# the environment -----------------------------------------------------------------------------------


def inbound_listener(settings: ProxySettings) -> Listener:
    if settings.slot is not None:
        return str(settings.slot.address), INBOUND_PORT
    return ("::" if 6 in settings.families else "0.0.0.0", INBOUND_PORT)


def outbound_listeners(settings: ProxySettings) -> tuple[Listener, ...]:
    loopback = {4: "127.0.0.1", 6: "::1"}
    port = OUTBOUND_PORT if settings.slot is None else settings.slot.outbound_port
    return tuple((loopback[family], port) for family in sorted(settings.families))


def admin_listener(settings: ProxySettings) -> Listener:
    return ADMIN_LISTENER if settings.slot is None else (ADMIN_LISTENER[0], settings.slot.admin_port)


def environment(settings: ProxySettings, trust_anchors_pem: str) -> dict[str, str]:
    """The whole environment of the proxy (docs/linkerd.md §1), which depends on its version.

    A variable that is set and empty is not "unset" to the proxy: some then fail, one selects another mode.
    So what has no value is left out. Raises Refused.
    """
    version = _checked(settings)
    values = {
        **(_by_token(settings) if settings.token_file else _by_workload_api(settings, version)),
        "IDENTITY_SERVER_ID": settings.identity,
        "IDENTITY_SERVER_NAME": settings.server_name,
        "IDENTITY_TRUST_ANCHORS": trust_anchors_pem,
        **_listeners(settings, version),
        **_control_plane(settings),
        **_traffic(settings),
        "LOG": settings.log,
        "LOG_FORMAT": settings.log_format,
        "CORES": str(settings.cores),
        "SHUTDOWN_GRACE_PERIOD": f"{settings.grace}s",
    }
    # What an operator adds comes last: it may override a default, never the contract.
    return {f"{PREFIX}{name}": value for name, value in values.items() if value} | dict(settings.extra)


def _by_workload_api(settings: ProxySettings, version: tuple[int, ...]) -> dict[str, str]:
    renamed = version >= (2, 304)
    return {"IDENTITY_SPIRE_WORKLOAD_API_ADDRESS" if renamed else "IDENTITY_SPIRE_SOCKET": settings.workload_api}


def _by_token(settings: ProxySettings) -> dict[str, str]:
    address, name = identity_controller(settings)
    return {
        "IDENTITY_SVC_ADDR": address,
        "IDENTITY_SVC_NAME": name,
        "IDENTITY_DIR": settings.identity_folder,
        "IDENTITY_TOKEN_FILE": settings.token_file,
    }


def _trust_domain(settings: ProxySettings) -> str:
    return settings.trust_domain or settings.cluster_domain


def _listeners(settings: ProxySettings, version: tuple[int, ...]) -> dict[str, str]:
    outbound = [host_port(listener) for listener in outbound_listeners(settings)]
    many = version >= (2, 228)
    return {
        "INBOUND_LISTEN_ADDR": host_port(inbound_listener(settings)),
        "OUTBOUND_LISTEN_ADDRS" if many else "OUTBOUND_LISTEN_ADDR": ",".join(outbound if many else outbound[:1]),
        "ADMIN_LISTEN_ADDR": host_port(admin_listener(settings)),
    }


def controllers(settings: ProxySettings) -> tuple[str, str, str]:
    """HOST:PORT of the policy and of the destination controller, and what both prove to be."""
    namespace, domain = settings.control_namespace, settings.cluster_domain
    return (
        control_plane.policy_address(settings.policy, namespace, domain),
        control_plane.destination_address(settings.destination, namespace, domain),
        token.identity("linkerd-destination", namespace, namespace, _trust_domain(settings)),
    )


def identity_controller(settings: ProxySettings) -> tuple[str, str]:
    """In token mode: its HOST:PORT, and what it proves to be."""
    namespace, domain = settings.control_namespace, settings.cluster_domain
    return (
        settings.identity_controller or f"linkerd-identity-headless.{namespace}.svc.{domain}.:8080",
        token.identity("linkerd-identity", namespace, namespace, _trust_domain(settings)),
    )


def _control_plane(settings: ProxySettings) -> dict[str, str]:
    domain = settings.cluster_domain
    policy, destination, name = controllers(settings)
    networks = ",".join(settings.cluster_networks)
    workload = {"ns": settings.namespace, "external_workload": settings.workload}
    return {
        "DESTINATION_SVC_ADDR": destination,
        "DESTINATION_SVC_NAME": name,
        "DESTINATION_CONTEXT": _json({"ns": settings.namespace}),
        "DESTINATION_PROFILE_SUFFIXES": f"svc.{domain}.",
        # Without it no lookup by IP happens, and a cluster's Services are plain addresses to the proxy.
        "DESTINATION_PROFILE_NETWORKS": networks,
        "POLICY_SVC_ADDR": policy,
        "POLICY_SVC_NAME": name,
        "POLICY_WORKLOAD": _json(workload),
        "POLICY_CLUSTER_NETWORKS": networks,
        # As in the chart: a silent control-plane stream is detected and opened again.
        "CONTROL_STREAM_INITIAL_TIMEOUT": "3s",
        "CONTROL_STREAM_IDLE_TIMEOUT": "5m",
        "CONTROL_STREAM_LIFETIME": "1h",
    }


def _traffic(settings: ProxySettings) -> dict[str, str]:
    # Until the policy controller answers; then the annotation of the ExternalWorkload counts alone
    # (docs/linkerd.md §12).
    listed = ",".join(map(str, settings.opaque_ports))
    return {
        **({"INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION": listed} if listed else {}),
        "INBOUND_IPS": ",".join(settings.addresses),
        "INBOUND_PORTS": ",".join(map(str, settings.ports)),
        "INBOUND_DEFAULT_POLICY": settings.default_inbound_policy,
        # As in the chart: a peer behind a dead link is detected.
        "INBOUND_ACCEPT_KEEPALIVE": "10s",
        "OUTBOUND_CONNECT_KEEPALIVE": "10s",
    }


def host_port(listener: Listener) -> str:
    host, port = listener
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _json(value: dict[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"))


_OTHERS = frozenset({"OTEL_RESOURCE_ATTRIBUTES", "HOSTNAME", "RUST_BACKTRACE"})
_OF_A_KEY = {
    "LOG": "proxy.log",
    "LOG_FORMAT": "proxy.log_format",
    "CORES": "proxy.cores",
    "SHUTDOWN_GRACE_PERIOD": "proxy.grace",
    "INBOUND_DEFAULT_POLICY": "proxy.default_inbound_policy",
    "INBOUND_IPS": "host.addresses",
    "INBOUND_PORTS": "workload.ports",
    "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION": "workload.opaque_ports",
    "DESTINATION_SVC_ADDR": "control_plane.destination",
    "POLICY_SVC_ADDR": "control_plane.policy",
    "IDENTITY_SVC_ADDR": "control_plane.identity",
    "POLICY_CLUSTER_NETWORKS": "control_plane.cluster_networks",
    "DESTINATION_PROFILE_NETWORKS": "control_plane.cluster_networks",
}
# fairlead reads the proxy through these, and its redirect uses them.
_CONTRACT = re.compile(
    r"IDENTITY_.*|LINKERD2_PROXY_IDENTITY_.*|(IN|OUT)BOUND_LISTEN_ADDRS?|ADMIN_LISTEN_ADDR"
    r"|(DESTINATION|POLICY)_SVC_NAME|POLICY_WORKLOAD|DESTINATION_CONTEXT|INBOUND_IPS|SHUTDOWN_ENDPOINT_ENABLED"
)


def why_not_extra(name: str, value: str) -> str | None:
    """Why an operator may not add this variable; None: it may be added."""
    if not value:
        return "is empty, which is not the same as unset for the proxy; leave it out"
    if name in _OTHERS:
        return None
    short = name.removeprefix(PREFIX)
    if short == name:
        return f"is not the proxy's: its variables begin with {PREFIX}"
    if short in _OF_A_KEY:
        return f"is set by the key {_OF_A_KEY[short]}"
    if _CONTRACT.fullmatch(short):
        return "is fairlead's to set: with another value it would take a proxy that works for one that does not"
    return None


def masked(environment: Mapping[str, str]) -> dict[str, str]:
    """For people. The anchors are long and not secret; any other value that looks like a secret is masked."""
    return {name: _mask(name, value) for name, value in sorted(environment.items())}


def _mask(name: str, value: str) -> str:
    if name.endswith("TRUST_ANCHORS"):
        return f"<{value.count('BEGIN CERTIFICATE')} certificates>"
    return "<masked>" if re.search(r"TOKEN(?!_FILE)|SECRET|PASSWORD|_KEY$", name) else value


# what must not reach a proxy -----------------------------------------------------------------------

_LEVEL = r"(?:off|error|warn|info|debug|trace)"
_DIRECTIVE = re.compile(rf"{_LEVEL}|[\w:-]+(?:\[[^\],]*\])?={_LEVEL}", re.IGNORECASE)
_NEEDS_NETWORKS = frozenset({"audit", "cluster-authenticated", "cluster-unauthenticated"})


def _checked(settings: ProxySettings) -> tuple[int, ...]:
    """The version, if no setting is known to fail with it. Raises Refused."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+).*", settings.version)
    if found is None:
        raise Refused(f"{settings.version!r} is not a version of linkerd2-proxy")
    version = tuple(map(int, found.groups()))
    if version < (2, 220):
        raise Refused(f"version {settings.version} knows no SPIFFE Workload API; 2.220 is the first that does")
    if (2, 329) <= version < (2, 331) and not settings.token_file:
        raise Refused(f"version {settings.version} cannot talk to SPIRE; 2.331 is the next that can")
    # A bad filter does not stop the proxy: it starts, without the intended log lines (docs/linkerd.md §12).
    for directive in settings.log.split(","):
        if not _DIRECTIVE.fullmatch(directive.strip()):
            raise Refused(f"{directive!r} in the log filter is neither a level nor target=level")
    if settings.default_inbound_policy in _NEEDS_NETWORKS and not settings.cluster_networks:
        raise Refused(f"the inbound policy {settings.default_inbound_policy} needs cluster networks")
    if not settings.addresses:
        raise Refused("the workload has no address, so the proxy would take itself for everybody")
    return version


# the control plane -----------------------------------------------------------------------------------


def services(settings: ProxySettings) -> tuple[tuple[str, int], ...]:
    """Host and port of each service of the control plane that the proxy asks."""
    named = _control_plane(settings) | (_by_token(settings) if settings.token_file else {})
    found = [value.rpartition(":") for name, value in named.items() if name.endswith("_SVC_ADDR")]
    return tuple((host.strip("[]"), int(port)) for host, _, port in found)


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# readings ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One inspection. `certificate_expires`: seconds since the epoch by the wall clock, 0.0 = never
    certified. `listener_uids`: who listens on the proxy's inbound and outbound addresses."""

    live: Maybe[bool] = UNKNOWN
    ready: Maybe[bool] = UNKNOWN
    certificate_expires: Maybe[float] = UNKNOWN
    inbound_listening: Maybe[bool] = UNKNOWN
    outbound_listening: Maybe[bool] = UNKNOWN
    listener_uids: Maybe[frozenset[int]] = UNKNOWN
    in_flight: Maybe[int] = UNKNOWN
    control: Maybe[Counters] = UNKNOWN  # of its policy client
    worker_lost: Maybe[bool] = UNKNOWN  # by its log; looked at only where it can happen
    everywhere: bool = False  # it listens at every address, although there are slots


Judgement = tuple[ProxyState, Fault | None, float | None]


def judge(reading: Reading, proxy_uid: int, wall_now: float, seen_ready: bool = False) -> Judgement:
    """State, fault, and seconds of certificate left (None: unknown or none). `seen_ready`: an earlier
    reading of the same process was READY, so it is no longer STARTING.

    Ready means: live and ready, certified, and its listeners accept. `/ready` alone is not enough: a proxy that
    found no Workload API socket at its start answers "ready" and serves nothing (docs/linkerd.md §1.6).
    """
    state, fault = _state(reading, proxy_uid, wall_now)
    if state is ProxyState.STARTING and seen_ready:
        state, fault = (
            ProxyState.NOT_READY,
            Fault(Reason.PROXY_LISTENER_ABSENT, "it accepts no connections"),
        )
    expires = reading.certificate_expires
    left = None if expires is UNKNOWN or expires == 0.0 else expires - wall_now
    return state, fault, left


def _state(reading: Reading, proxy_uid: int, wall_now: float) -> tuple[ProxyState, Fault | None]:
    """A known fault beats an unknown part, whatever the part is."""
    expires = reading.certificate_expires
    strangers = frozenset() if reading.listener_uids is UNKNOWN else reading.listener_uids - {proxy_uid}
    absent = False in (reading.inbound_listening, reading.outbound_listening)
    if strangers:
        who = ", ".join(map(str, sorted(strangers)))
        return ProxyState.NOT_READY, Fault(Reason.PROXY_LISTENER_FOREIGN, f"uid {who}")
    if reading.worker_lost is True:
        return ProxyState.NOT_READY, Fault(Reason.PROXY_WORKER_DEAD)
    if expires == 0.0:
        state = ProxyState.STARTING if reading.ready is False else ProxyState.NOT_READY
        return state, Fault(Reason.PROXY_UNCERTIFIED)
    if expires is not UNKNOWN and expires <= wall_now:
        return ProxyState.NOT_READY, Fault(Reason.PROXY_CERTIFICATE_EXPIRED)
    if absent and reading.live is False:  # it has come to nothing yet, or it ends
        return ProxyState.STARTING, Fault(Reason.PROXY_STARTING, "none of its ports is open")
    if absent:
        port = INBOUND_PORT if reading.inbound_listening is False else OUTBOUND_PORT
        return ProxyState.NOT_READY, Fault(Reason.PROXY_LISTENER_ABSENT, f"nothing listens on port {port}")
    if reading.ready is False:
        return ProxyState.STARTING, Fault(Reason.PROXY_STARTING, "it has no certificate yet")
    missing = [name for name in _NEEDED if getattr(reading, name) is UNKNOWN]
    if missing:
        return ProxyState.UNREADABLE, Fault(Reason.PROXY_UNREADABLE, f"cannot read {', '.join(missing)}")
    if reading.live is False:
        return ProxyState.STARTING, Fault(Reason.PROXY_STARTING, "the admin port says that it is not live")
    return ProxyState.READY, None


_NEEDED = ("live", "ready", "certificate_expires", "inbound_listening", "outbound_listening", "listener_uids")
