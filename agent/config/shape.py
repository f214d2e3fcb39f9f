"""A configuration as frozen values, with its defaults, and the type of a problem in it."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from agent.core.late import dataclass, field
from agent.core.probe import ProbeSpec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
PortRange = tuple[int, int]  # first and last


@dataclass(frozen=True)
class Endpoint:
    """An address and a port; the port 0 means every port."""

    address: Address
    port: int


@dataclass(frozen=True)
class WorkloadConfig:
    """In token mode `identity` and `server_name` are the same name, derived from other keys."""

    name: str
    namespace: str
    identity: str  # spiffe://…: SERVER_ID
    server_name: str  # a DNS name: SERVER_NAME, the SNI that peers send
    ports: tuple[int, ...] = ()  # declared ports: the only ones whose inbound traffic is redirected
    opaque_ports: tuple[int, ...] = ()  # those of them whose server speaks first, or whose protocol is left alone


@dataclass(frozen=True)
class HostConfig:
    addresses: tuple[Address, ...]  # the workload's own: at most one IPv4 and one IPv6
    address_translated: bool = False  # they are translated on the way, so this host does not need to have them


@dataclass(frozen=True)
class IdentityConfig:
    """`mode` says which of the other keys there are; those of the other mode are ""."""

    trust_anchors: str  # absolute path of a PEM file
    mode: Literal["spiffe", "token"] = "spiffe"
    service_account: str = ""  # in workload.namespace
    token_file: str = ""  # absolute path; "" = the agent asks the API server for tokens
    workload_api: str = ""  # absolute path of the Workload API's unix socket (a "unix:" prefix is stripped)
    hint: str = ""  # "" = any
    anchors_source: Literal["file", "cluster", "workload-api"] = "file"
    anchors_follow: bool = False
    anchors_window: float = 3600.0  # seconds


@dataclass(frozen=True)
class ApiConfig:
    """`auth` says which of the following keys there are; those that do not belong to it are ""."""

    auth: Literal["spiffe", "token-file", "kubeconfig"] = "token-file"
    server: str = ""  # https://host:port
    ca: str = ""  # absolute path of a PEM file
    audience: str = ""
    identity: str = ""  # spiffe://…: of the JWT-SVID; "" = derived.api_identity
    token_file: str = ""  # absolute path
    kubeconfig: str = ""  # absolute path
    context: str = ""  # "" = the kubeconfig's current one
    lease_period: float = 10.0  # seconds


@dataclass(frozen=True)
class ProxyConfig:
    binary: str = ""  # "" = the current one of those that were installed
    version: str = ""  # "" = that of the installed one, else USUAL_VERSION
    user: str = "fairlead-proxy"  # a name or a uid > 0
    log: str = "warn,linkerd=info,hickory=error"
    log_format: Literal["plain", "json"] = "plain"
    cores: int = 1
    grace: int = 120  # seconds
    ready_within: float = 60.0  # seconds
    default_inbound_policy: str = "all-unauthenticated"
    runtime: Literal["auto", "unit", "child"] = "auto"
    slots: bool = False  # it is replaced by a second slot, without a drain
    standby: bool = False  # the second slot always runs
    slot_network: Network | None = None  # of the slots' own addresses; None: the usual one of their IP version
    environment: tuple[tuple[str, str], ...] = ()  # variables besides those that fairlead sets


@dataclass(frozen=True)
class ControlPlaneConfig:
    namespace: str = "linkerd"
    cluster_domain: str = "cluster.local"
    trust_domain: str = ""  # "" = cluster_domain
    destination: str = ""  # host:port; "" = the name that Linkerd's chart gives it
    policy: str = ""
    identity: str = ""
    cluster_networks: tuple[Network, ...] = ()


@dataclass(frozen=True)
class RedirectConfig:
    mode: Literal["declared", "linkerd-guide", "off"] = "declared"
    inbound: Literal["declared", "all", "off"] = "declared"
    outbound: Literal["networks", "all", "uids", "off"] = "networks"
    outbound_networks: tuple[Network, ...] = ()
    outbound_uids: tuple[str, ...] = ()  # names or numbers
    exempt: tuple[Endpoint, ...] = ()  # outbound destinations that are never redirected (API server, SPIRE)
    inbound_except_ports: tuple[PortRange, ...] = ()
    inbound_except_networks: tuple[Network, ...] = ()  # where a connection comes from
    inbound_except_interfaces: tuple[str, ...] = ()
    outbound_except_ports: tuple[PortRange, ...] = ()
    outbound_except_networks: tuple[Network, ...] = ()  # where a connection goes to
    outbound_except_interfaces: tuple[str, ...] = ()
    outbound_except_uids: tuple[str, ...] = ()
    outbound_except_gids: tuple[str, ...] = ()
    force: bool = False
    backend: Literal["auto", "nftables", "iptables-nft", "iptables-legacy"] = "auto"
    inbound_failure: Literal["closed", "open", "closed-after-ready"] = "closed-after-ready"
    outbound_failure: Literal["closed", "open"] = "open"


@dataclass(frozen=True)
class DrainConfig:
    settle: float = 5.0
    timeout: float = 60.0


@dataclass(frozen=True)
class ReadyConfig:
    wait: float = 90.0  # seconds


@dataclass(frozen=True)
class SocketConfig:
    operators: str = ""  # a group; "" = root alone


@dataclass(frozen=True)
class MetricsConfig:
    listen: str = ""  # ADDRESS:PORT; "" = on the status socket alone
    plain: bool = False


@dataclass(frozen=True)
class Config:
    workload: WorkloadConfig
    host: HostConfig
    identity: IdentityConfig
    api: ApiConfig
    proxy: ProxyConfig
    control_plane: ControlPlaneConfig = field(default_factory=ControlPlaneConfig)
    redirect: RedirectConfig = field(default_factory=RedirectConfig)
    probes: tuple[ProbeSpec, ...] = ()
    drain: DrainConfig = field(default_factory=DrainConfig)
    ready: ReadyConfig = field(default_factory=ReadyConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    socket: SocketConfig = field(default_factory=SocketConfig)


@dataclass(frozen=True)
class Problem:
    """`key`: dotted path in the file, "" for the file as a whole; `cause`: what is wrong; `remedy`: what to do."""

    key: str
    cause: str
    remedy: str


class ConfigError(Exception):
    """The problems of one file. As text, the first and the number of others. `fairlead check-config` lists all."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first, more = problems[0], len(problems) - 1
        said = f"{first.key}: {first.cause}" if first.key else first.cause
        super().__init__(f"{said}; and {more} more" if more else said)
        self.problems = problems
