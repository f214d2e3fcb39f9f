"""The stand-in's reading of linkerd2-proxy's environment: the variables it acts on, and those it would refuse.

What is refused, and that a variable which is set and empty is not "unset", was seen on linkerd2-proxy 2.366.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from agent.core.opaque import PortRange, ranges

PREFIX = "LINKERD2_PROXY_"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POLICIES = {"deny", "all-authenticated", "all-unauthenticated"}
_CLUSTER_POLICIES = {"audit", "cluster-authenticated", "cluster-unauthenticated"}

Address = tuple[str, int]


class Invalid(Exception):
    """The environment is not one that the proxy starts with: exit 64."""


@dataclass(frozen=True)
class TokenSettings:
    """`controller`: host:port of the identity controller, which proves to be `controller_name`."""

    controller: str
    controller_name: str
    key: Path
    request: Path
    token: Path


@dataclass(frozen=True)
class Settings:
    """`inbound_ips`: original destinations that are served; empty: all. `inbound_policy`: whom they are served
    to. `inbound_ports`: whose policy is read at the start. `opaque_ports`: until the policy controller answers.
    `detect_within`: seconds for the first bytes of a connection. `grace`: seconds."""

    workload_api: str  # "" in token mode
    token: "TokenSettings | None"
    server_id: str
    server_name: str
    trust_anchors: str
    policy: str  # HOST:PORT of the policy controller, which proves to be `policy_name`
    policy_name: str
    workload: str  # as the policy controller knows this host
    inbound: Address
    outbound: tuple[Address, ...]
    admin: Address
    inbound_ips: frozenset[str]
    inbound_policy: str
    inbound_ports: tuple[PortRange, ...]
    opaque_ports: tuple[PortRange, ...]
    detect_within: float
    grace: float
    shutdown_endpoint: bool


def parse(environment: Mapping[str, str]) -> Settings:
    """Raises Invalid."""
    env = _Environment(environment)
    env.check_control_plane()
    return Settings(
        workload_api=env.workload_api(),
        token=None if env.workload_api() else env.token(),
        server_id=env.server_id(),
        server_name=env.required("IDENTITY_SERVER_NAME"),
        trust_anchors=env.required("IDENTITY_TRUST_ANCHORS"),
        policy=env.required("POLICY_SVC_ADDR"),
        policy_name=env.get("POLICY_SVC_NAME") or "",
        workload=env.required("POLICY_WORKLOAD"),
        inbound=env.address("INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
        outbound=env.outbound(),
        admin=env.address("ADMIN_LISTEN_ADDR", "127.0.0.1:4191"),
        inbound_ips=env.addresses("INBOUND_IPS"),
        inbound_policy=env.inbound_policy(),
        inbound_ports=ranges(env.inbound_ports(), {}),
        opaque_ports=ranges(env.get("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION") or "", {}),
        detect_within=env.duration("INBOUND_DETECT_TIMEOUT", "10s"),
        grace=env.duration("SHUTDOWN_GRACE_PERIOD", "2m"),
        shutdown_endpoint=env.get("SHUTDOWN_ENDPOINT_ENABLED") == "true",
    )


class _Environment:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def get(self, name: str) -> str | None:
        return self._environment.get(PREFIX + name)

    def required(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise Invalid(f"{PREFIX}{name} must be set.")
        return value

    def bad(self, name: str, why: str) -> Invalid:
        return Invalid(f'{PREFIX}{name}="{self.get(name)}" is not valid: {why}')

    def workload_api(self) -> str:
        """Older proxies know one name and newer ones both. An empty value is taken, and no socket is found."""
        sockets = [self.get(f"IDENTITY_SPIRE_{name}") for name in ("WORKLOAD_API_ADDRESS", "SOCKET")]
        present = [value for value in sockets if value is not None]
        if not present:
            return ""
        return present[0].removeprefix("unix:")

    def server_id(self) -> str:
        name = "IDENTITY_SERVER_ID"
        value = self.required(name)
        if self.workload_api() and not value.startswith("spiffe://"):
            raise self.bad(name, "Spire support requires a SPIFFE TLS Id")
        return value

    def token(self) -> TokenSettings:
        """What token mode needs at the start: one name, the controller's, and three files that are not empty."""
        if self.required("IDENTITY_SERVER_ID") != self.required("IDENTITY_SERVER_NAME"):
            raise Invalid("linkerd identity requires a TLS Id and server name to be the same")
        folder = Path(self.required("IDENTITY_DIR"))
        files = (folder / "key.p8", folder / "csr.der", Path(self.required("IDENTITY_TOKEN_FILE")))
        for path in files:
            try:
                empty = not path.read_bytes()
            except OSError as error:
                raise Invalid(f"cannot read {path}: {error.strerror}") from error
            if empty:
                raise Invalid(f"{path} is empty")
        return TokenSettings(self.required("IDENTITY_SVC_ADDR"), self.required("IDENTITY_SVC_NAME"), *files)

    def address(self, name: str, default: str) -> Address:
        value = self.get(name)
        return self._address(name, default if value is None else value)

    def outbound(self) -> tuple[Address, ...]:
        name = "OUTBOUND_LISTEN_ADDRS" if self.get("OUTBOUND_LISTEN_ADDRS") is not None else "OUTBOUND_LISTEN_ADDR"
        value = self.get(name) if self.get(name) is not None else "127.0.0.1:4140"
        parts = (value or "").split(",")
        if len(parts) > 2:
            raise self.bad(name, "TooManyAddrs")
        return tuple(self._address(name, part) for part in parts)

    def _address(self, name: str, text: str) -> Address:
        host, _, port = text.rpartition(":")
        if not port.isdecimal():
            raise self.bad(name, "MissingPort")
        return str(self._ip(name, host.strip("[]"))), int(port)

    def _ip(self, name: str, text: str) -> str:
        try:
            return str(ip_address(text.strip()))
        except ValueError as error:
            raise self.bad(name, "NotAnIp") from error

    def addresses(self, name: str) -> frozenset[str]:
        value = self.get(name)
        return frozenset() if value is None else frozenset(self._ip(name, part) for part in value.split(","))

    def duration(self, name: str, default: str) -> float:
        value = self.get(name)
        match = re.fullmatch(r"\s*(\d+)(ms|s|m|h|d)?\s*", default if value is None else value)
        if match is None or (match[2] is None and int(match[1]) != 0):
            raise self.bad(name, "NotADuration")
        return int(match[1]) * _UNITS.get(match[2], 1.0)

    def check_control_plane(self) -> None:
        """Address and name of a service come together, unless it is on loopback, where no name is proved."""
        for service in ("DESTINATION_SVC", "POLICY_SVC"):
            address, name = self.get(f"{service}_ADDR"), self.get(f"{service}_NAME")
            on_loopback = bool(address) and bool(re.match(r"127\.|\[::1\]|localhost\.", address or ""))
            if not address or not (name or on_loopback):
                raise Invalid(f"{PREFIX}{service}_ADDR and {PREFIX}{service}_NAME must be specified together")
        self.required("POLICY_WORKLOAD")

    def inbound_policy(self) -> str:
        name = "INBOUND_DEFAULT_POLICY"
        known = _POLICIES | (_CLUSTER_POLICIES if self.get("POLICY_CLUSTER_NETWORKS") else set())
        value = self.get(name)
        value = "all-unauthenticated" if value is None else value
        if value not in known:
            raise self.bad(name, "InvalidPortPolicy")
        return value

    def inbound_ports(self) -> str:
        ports = self.get("INBOUND_PORTS")
        if ports is not None and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", ports):
            raise self.bad("INBOUND_PORTS", "NotAnInteger")
        return ports or ""
