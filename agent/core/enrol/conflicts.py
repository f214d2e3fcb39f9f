"""Other objects that would make peers reach the wrong host, or two hosts look alike."""

from collections.abc import Iterable, Iterator

from agent.core import addresses
from agent.core.enrol.request import Host, Problem
from agent.core.late import dataclass


@dataclass(frozen=True)
class Other:
    """An ExternalWorkload of any namespace."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    identity: str
    group: str = ""  # the WorkloadGroup of its namespace that it is a member of


@dataclass(frozen=True)
class Pod:
    """A pod that has not ended. `ports`: those that it declares on the node, if it uses the node's network or
    hostPorts; None: the address is its own, so that every port of it is."""

    namespace: str
    name: str
    address: str
    ports: tuple[int, ...] | None


def conflicts(host: Host, others: Iterable[Other], pods: Iterable[Pod]) -> Iterator[Problem]:
    for other in others:
        if (other.namespace, other.name) != (host.namespace, host.name):
            yield from _with_workload(host, other)
    for pod in pods:
        yield from _with_pod(host, pod)


def _with_workload(host: Host, other: Other) -> Iterator[Problem]:
    named = f"ExternalWorkload {other.namespace}/{other.name}"
    alike = host.shared and (host.namespace, host.group) == (other.namespace, other.group)
    if host.identity == other.identity and not alike:
        remedy = "give this host an identity of its own: --identity, and an entry in SPIRE"
        yield Problem(f"{named} has the identity {other.identity}", remedy)
    for address in _shared(host, other.addresses):
        if ports := sorted({port.port for port in host.ports} & set(other.ports)):
            cause = f"{named} has {address} with port {', '.join(map(str, ports))}"
            yield Problem(cause, "retire the other one first, or give this host's own address")
        else:
            cause = f"{named} has {address}: peers dial one proxy at an address, and so one host"
            yield Problem(cause, "give this host an address of its own")


def _with_pod(host: Host, pod: Pod) -> Iterator[Problem]:
    for address in _shared(host, (pod.address,)):
        ports = sorted({port.port for port in host.ports} & set(pod.ports or ()))
        if pod.ports is None or ports:
            which = f" with port {', '.join(map(str, ports))}" if ports else ""
            cause = f"Pod {pod.namespace}/{pod.name} has {address}{which}"
            yield Problem(cause, "give the address of the host, which no pod has")


def _shared(host: Host, texts: Iterable[str]) -> list[str]:
    """As addresses, not as text."""
    theirs = {addresses.comparable(text) for text in texts}
    return [text for text in host.addresses if addresses.comparable(text) in theirs]
