"""Whether Services select a host, and whether their EndpointSlices have it as it is."""

from collections.abc import Iterator, Mapping, Sequence

from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.doctor.cluster.seen import Lease, Service, Workload, titles
from agent.core.late import dataclass
from agent.core.reasons import Fault, Reason


@dataclass(frozen=True)
class Published:
    """`lease`: None where there is none."""

    workload: Workload
    lease: Lease | None


_ENROL = "fairlead enrol writes what is missing"


def ready(seen: Published) -> Outcome:
    """Ready, and whether its Lease still vouches for it."""
    workload, lease = seen.workload, seen.lease
    if not workload.ready:
        return fail("its agent has not written a status yet", "on the host: fairlead status, fairlead doctor")
    if workload.ready != "True":
        return _not_ready(workload)
    if lease is None:
        return fail("Ready is True, and it has no Lease: no watcher can tell whether the host is alive", _ENROL)
    if lease.owner and lease.owner != workload.uid:
        return fail("its Lease belongs to an earlier ExternalWorkload of this name", _ENROL)
    if lease.age is None:
        return fail("Ready is True, and its Lease was never renewed", "on the host: fairlead doctor")
    if lease.age > lease.duration:
        why = f"Ready is True, and its Lease of {lease.duration} s was renewed {lease.age:.0f} s ago"
        return fail(why, "the host or its agent is down; the watcher takes it out of load balancing, if one runs")
    return ok(f"Ready since its agent says so, Lease renewed {max(0.0, lease.age):.0f} s ago")


def _not_ready(workload: Workload) -> Outcome:
    known = next((reason for reason in Reason if reason.value == workload.reason), None)
    if known is not None:
        return of_fault(Fault(known, workload.message))
    why = f"Ready is {workload.ready} ({workload.reason or 'no reason'})"
    return fail(f"{why}: {workload.message}" if workload.message else why, "on the host: fairlead status")


@dataclass(frozen=True)
class Selected:
    """`services`: of the namespace."""

    workload: Workload
    services: Sequence[Service]

    @property
    def selecting(self) -> list[Service]:
        return [one for one in self.services if one.selects(self.workload)]


def services(seen: Selected) -> Outcome:
    found, nearly = [one.name for one in seen.selecting], list(_nearly(seen))
    if found:
        also = f"; nearly: {'; '.join(nearly)}" if nearly else ""
        return ok(f"selected by {titles(found)}{also}")
    if not nearly:
        why = f"no Service in the namespace {seen.workload.namespace} selects it"
        return warn(
            why, "pods reach it through a Service whose selector its labels satisfy; or it is a client only"
        )
    return warn(f"no Service selects it; nearly: {'; '.join(nearly)}", "correct the label or the selector")


def _nearly(seen: Selected) -> Iterator[str]:
    """Services of whose labels exactly one differs, and their label that does."""
    labels = seen.workload.labels
    for one in seen.services:
        differing = {key: value for key, value in one.selector.items() if labels.get(key) != value}
        alike = len(one.selector) > 1 or any(key in labels for key in differing)
        if len(differing) == 1 and alike:
            ((key, value),) = differing.items()
            has = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            yield f"Service {one.name} wants {key}={value}, the host has {has}"


def service_ports(seen: Selected) -> Outcome:
    workload, lost, dead = seen.workload, list[str](), False
    if not seen.selecting:
        return unknown("no Service selects it")
    for service in seen.selecting:
        missing = [port for port in service.ports if not workload.has(port.target, port.protocol)]
        dead = dead or len(missing) == len(service.ports)
        lost += [f"{service.name}:{port.port} (targetPort {port.target}/{port.protocol})" for port in missing]
    if not lost:
        return ok("each port of its Services is one of its ports")
    has = ", ".join(map(str, workload.ports)) or "none"
    fix = "Linkerd takes a port by number or name, and an equal protocol: correct targetPort, or enrol with --port"
    return (fail if dead else warn)(f"ports that match none of its ports ({has}): {', '.join(lost)}", fix)


@dataclass(frozen=True)
class Sliced:
    """`flags`: Service → the ready flag with which its EndpointSlices list this host; None: they do not."""

    workload: Workload
    flags: Mapping[str, bool | None]


def slices(seen: Sliced) -> Outcome:
    wanted = seen.workload.ready == "True"
    if not seen.flags:
        return unknown("no Service selects it")
    absent = [name for name, flag in seen.flags.items() if flag is None]
    if absent:
        why = f"no EndpointSlice of Service {titles(absent)} lists it"
        return fail(
            why, "look at the log of linkerd-destination, which writes EndpointSlices of ExternalWorkloads"
        )
    if differing := [name for name, flag in seen.flags.items() if flag is not wanted]:
        flag = "not ready" if wanted else "ready"
        why = (
            f"Ready is {seen.workload.ready or 'absent'}, and the EndpointSlice of {titles(differing)} says {flag}"
        )
        return warn(why, "Linkerd follows within seconds; if it stays, look at the log of linkerd-destination")
    return ok(f"listed as {'ready' if wanted else 'not ready'}, as its status says")
