"""Opaque ports: those on which the proxy forwards bytes at once, without waiting for the client's first bytes.

A server that speaks first (MySQL, SMTP, FTP) needs it: on any other port the proxy waits 10 s for the client, and
then drops a client outside the mesh. The annotation of the ExternalWorkload decides; the proxy's environment
counts only until the policy controller answers (docs/linkerd.md §12).
"""

from collections.abc import Iterable, Mapping

from agent.core.facts import UNKNOWN, Facts, Level, Maybe, Workload
from agent.core.health import Spec
from agent.core.reason import Fault, Reason

ANNOTATION = "config.linkerd.io/opaque-ports"
RESTART = "fairlead proxy restart"
PortRange = tuple[int, int]  # first and last
_PORTS = range(1, 65536)


def ranges(text: str, named: Mapping[str, int]) -> tuple[PortRange, ...]:
    """The annotation's content: numbers, ranges, and names of the workload's ports. Entries that Linkerd ignores
    are ignored."""
    return tuple(ports for part in text.split(",") if (ports := _range(part.strip(), named)) is not None)


def _range(part: str, named: Mapping[str, int]) -> PortRange | None:
    first, dash, last = part.partition("-")
    if _is_number(first) and (not dash or _is_number(last)):
        ports = int(first), int(last or first)
        return ports if ports[0] in _PORTS and ports[1] in _PORTS and ports[0] <= ports[1] else None
    return (named[part], named[part]) if part and part in named else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5


def within(ports: Iterable[int], ranges: Iterable[PortRange]) -> tuple[int, ...]:
    """Those of the ports that lie in one of the ranges."""
    wanted = tuple(ranges)
    return tuple(port for port in ports if any(first <= port <= last for first, last in wanted))


def mismatch(spec: Spec, facts: Facts) -> Fault | None:
    """Where the ExternalWorkload's annotation and the configuration differ about the declared ports."""
    fact = facts.workload
    if fact is UNKNOWN or fact.seen is None:
        return None
    there, here = within(spec.ports, fact.seen.opaque), tuple(p for p in spec.ports if p in spec.opaque_ports)
    if there == here:
        return None
    detail = f"{_listed(there)} in the annotation {ANNOTATION}, {_listed(here)} in workload.opaque_ports"
    missing = [port for port in here if port not in there]
    remedy = (
        annotate(spec.workload, fact.seen, missing) if missing else f"set workload.opaque_ports = {list(there)}"
    )
    return Fault(Reason.OPAQUE_PORTS_MISMATCH, detail, remedy)


def awaited(spec: Spec, facts: Facts) -> Maybe[Fault | None]:
    """Why an open inbound is not redirected for the first time yet: a port is not opaque in the mesh, so its
    clients would be dropped. None: no reason. UNKNOWN: nothing may change."""
    if not spec.opaque_ports or _ready_once(facts) is True:
        return None
    live = UNKNOWN if facts.redirect is UNKNOWN else facts.redirect.inbound
    if live in (Level.ON, Level.BLOCK):  # a closed port has no clients to lose
        return None
    if UNKNOWN in (live, _ready_once(facts)):
        return UNKNOWN
    return _unannotated(spec, facts)


def _ready_once(facts: Facts) -> Maybe[bool]:
    return UNKNOWN if facts.ready_once is UNKNOWN else facts.ready_once.recorded


def _unannotated(spec: Spec, facts: Facts) -> Maybe[Fault | None]:
    fact = facts.workload
    if fact is UNKNOWN or fact.seen is None:
        return UNKNOWN
    there = within(spec.opaque_ports, fact.seen.opaque)
    missing = [port for port in spec.opaque_ports if port not in there]
    if not missing:
        return None
    detail = f"the annotation {ANNOTATION} lacks {_listed(missing)}"
    return Fault(Reason.REDIRECT_PENDING, detail, annotate(spec.workload, fact.seen, missing))


def annotate(workload: str, seen: Workload | None, missing: Iterable[int]) -> str:
    """The command that makes these ports opaque too. `workload`: NAMESPACE/NAME."""
    namespace, _, name = workload.partition("/")
    before = [] if seen is None else [_text(one) for one in seen.opaque]
    value = ",".join([*before, *map(str, missing)])
    return f"kubectl annotate externalworkload {name} -n {namespace} --overwrite {ANNOTATION}={value}"


def declare(workload: str, already: Iterable[int], new: Iterable[int], *, running: bool = False) -> str:
    """What makes these ports opaque in both places, if the annotation is not known. Without --overwrite kubectl
    refuses to replace an annotation with other ports, and prints it. `running`: a proxy runs, which must read
    them."""
    namespace, _, name = workload.partition("/")
    ports = sorted({*already, *new})
    value = ",".join(map(str, ports))
    command = f"kubectl annotate externalworkload {name} -n {namespace} {ANNOTATION}={value}"
    restart = f"{RESTART}; " if running else ""
    return f"{command}; set workload.opaque_ports = {ports}; then: {restart}fairlead redirect apply"


def _text(one: PortRange) -> str:
    first, last = one
    return str(first) if first == last else f"{first}-{last}"


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(map(str, ports)) or "none"
