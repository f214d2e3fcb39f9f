"""What an operator asks for: one host, as the cluster is to know it; and what is wrong with that."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.core import addresses, spiffe
from agent.core.late import dataclass, field

MOST_NAME: Final = 239  # characters; "fairlead-host-" and the name is the name of a Role
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PORT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Problem:
    """`cause`: what is wrong; `remedy`: what to do."""

    cause: str
    remedy: str


@dataclass(frozen=True)
class Port:
    port: int
    name: str = ""
    opaque: bool = False


@dataclass(frozen=True)
class Host:
    """`identity` and `server_name`: of spec.meshTLS. `user`: the API user that speaks for the host."""

    name: str
    namespace: str
    addresses: tuple[str, ...]
    identity: str
    server_name: str
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)  # besides those that follow from other fields
    api_identity: str = ""  # "" = the identity and "/agent"
    account: bool = False  # it authenticates with a token of its ServiceAccount, not with a JWT-SVID

    group: str = ""  # the WorkloadGroup that it is a member of
    shared: bool = False  # it has its identity in common with the other members

    @property
    def role(self) -> str:
        return f"fairlead-host-{self.name}"

    @property
    def user(self) -> str:
        if self.account:
            return f"system:serviceaccount:{self.namespace}:{self.role}"
        return self.api_identity or f"{self.identity}/agent"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.namespace}/{self.name}"


def filled(template: str, name: str, namespace: str) -> str:
    return template.replace("{name}", name).replace("{namespace}", namespace)


def usual_server_name(name: str, namespace: str, linkerd: str, cluster_domain: str) -> str:
    """As Linkerd's convention has it. `linkerd`: namespace of the control plane."""
    return f"{name}.{namespace}.external.identity.{linkerd}.{cluster_domain}"


def problems(host: Host) -> Iterator[Problem]:
    """Everything that is wrong with it, before the cluster is asked."""
    yield from name_problems(host.name)
    yield from _address_problems(host.addresses)
    yield from common_problems(host)


def common_problems(host: Host) -> Iterator[Problem]:
    """Of what a group's template may give too."""
    if not re.fullmatch(_LABEL, host.namespace):
        yield Problem(f"{host.namespace!r} is not the name of a namespace", "write a DNS label, like shop")
    yield from _identity_problems(host)
    if not re.fullmatch(_SUBDOMAIN, host.server_name) or len(host.server_name) > spiffe.MOST_IN_WORKLOAD:
        remedy = "write a DNS name of at most 253 characters"
        yield Problem(f"{host.server_name!r} is not a server name", remedy)
    yield from _port_problems(host.ports)


def name_problems(name: str) -> Iterator[Problem]:
    if not re.fullmatch(_SUBDOMAIN, name):
        fitting = suggestion(name)
        remedy = f"use {fitting}" if fitting else "use lower-case letters, digits, dashes and dots"
        yield Problem(f"{name!r} is not a DNS subdomain", remedy)
    elif len(name) > MOST_NAME:
        yield Problem(f"the name has {len(name)} characters, and at most {MOST_NAME} are possible", "shorten it")


def is_label(name: str) -> bool:
    """Whether it is a DNS label: the value of a label too, and without dots."""
    return re.fullmatch(_LABEL, name) is not None


def suggestion(name: str) -> str:
    """The nearest DNS subdomain; "" if nothing is left of the name."""
    labels = (re.sub(r"[^a-z0-9]+", "-", label).strip("-")[:63].strip("-") for label in name.lower().split("."))
    return ".".join(label for label in labels if label)


def _address_problems(texts: Sequence[str]) -> Iterator[Problem]:
    versions = []
    for text in texts:
        try:
            address = addresses.address(text)
        except ValueError:
            yield Problem(f"{text!r} is not an IP address", "write it like 192.0.2.10 or 2001:db8::10")
            continue
        versions.append(address.version)
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            remedy = "write the address of the host that pods can reach"
            yield Problem(f"{address} is not an address that peers can dial", remedy)
    if not texts:
        yield Problem("the host has no address", "give --address")
    if len(versions) > len(set(versions)):
        remedy = "keep one IPv4 address, one IPv6 address, or one of each"
        yield Problem("an ExternalWorkload has at most one address of each IP version", remedy)


def _identity_problems(host: Host) -> Iterator[Problem]:
    remedy = "write --identity spiffe://TRUST-DOMAIN/{name}"
    for identity in filter(None, (host.identity, host.api_identity)):
        try:
            if not spiffe.parse(identity).path:
                yield Problem(f"{identity!r} is the ID of a trust domain, not of a workload", remedy)
        except ValueError as error:
            yield Problem(f"{identity!r} is not a SPIFFE ID: {error}", remedy)
    if not host.identity:
        yield Problem("the host has no identity", remedy)
    if len(host.identity) > spiffe.MOST_IN_WORKLOAD:
        cause = f"the identity has {len(host.identity)} characters, and an ExternalWorkload holds 253"
        yield Problem(cause, "shorten its path")
    if host.api_identity and host.api_identity == host.identity:
        cause = "the API identity is the workload's identity, which the proxy's user has too"
        yield Problem(cause, "leave it out, or give another one")


def _port_problems(ports: Sequence[Port]) -> Iterator[Problem]:
    for port in ports:
        if not 1 <= port.port <= 65535 or port.port == 22:
            yield Problem(
                f"{port.port} is not a port that the mesh can serve", "give a port from 1 to 65535, not 22"
            )
        if port.name and not re.fullmatch(_PORT_NAME, port.name):
            yield Problem(f"{port.name!r} is not a port's name", "use lower-case letters, digits and dashes")
    for values in ([port.port for port in ports], [port.name for port in ports if port.name]):
        if len(set(values)) < len(values):
            yield Problem("a port or its name is given twice", "keep one of them")
