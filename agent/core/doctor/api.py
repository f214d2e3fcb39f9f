"""Judgements about the API server: the server itself, the credential, the rights, the objects."""

from collections.abc import Sequence
from typing import Final

from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.late import dataclass
from agent.core.reasons import Fault, Reason

_CREDENTIAL: Final = frozenset(
    {
        Reason.API_UNAUTHORIZED,
        Reason.API_JWT_MISSING,
        Reason.API_JWT_REFUSED,
        Reason.API_CREDENTIAL_UNREADABLE,
        Reason.API_KUBECONFIG_UNUSABLE,
        Reason.API_PLUGIN_FAILED,
    }
)
_OBJECT: Final = frozenset({Reason.WORKLOAD_MISSING, Reason.WORKLOAD_KIND_ABSENT, Reason.LEASE_MISSING})


def server(fault: Fault | None) -> Outcome:
    """`fault`: of reading the ExternalWorkload. What the server refuses it has received."""
    if fault is None or fault.reason in _OBJECT | {Reason.API_FORBIDDEN, Reason.API_UNAUTHORIZED}:
        return ok("it answers, and its certificate is the configured authority's")
    if fault.reason in _CREDENTIAL:
        return unknown("it was not asked, for there is no credential to ask with")
    return of_fault(fault, fails=True)


def credential(fault: Fault | None) -> Outcome:
    if fault is not None and fault.reason in _CREDENTIAL:
        return of_fault(fault, fails=True)
    return ok("the API server knows who this host is")


# rights --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Right:
    """What a host does at the API server. `needed`: without it the host cannot be Ready. `given_by`: the file
    below config/cluster that gives it."""

    verb: str
    group: str
    resource: str  # as `externalworkloads/status`
    namespace: str
    name: str = ""
    needed: bool = True
    given_by: str = "host.yaml"

    @property
    def words(self) -> str:
        return f"{self.verb} of {self.resource} in the namespace {self.namespace}"


def rights(namespace: str, name: str, *, anchors_in: str = "", tokens_for: str = "") -> tuple[Right, ...]:
    """Of a host. `anchors_in`: the control plane's namespace, where the anchors are the cluster's; `tokens_for`:
    the service account for which the agent asks tokens."""
    linkerd, leases = "workload.linkerd.io", "coordination.k8s.io"
    needed = [
        Right("get", linkerd, "externalworkloads", namespace, name),
        Right("watch", linkerd, "externalworkloads", namespace, name),
        Right("patch", linkerd, "externalworkloads/status", namespace, name),
        Right("get", leases, "leases", namespace, name),
        Right("patch", leases, "leases", namespace, name),
    ]
    if tokens_for:
        needed.append(Right("create", "", "serviceaccounts/token", namespace, tokens_for, given_by="token.yaml"))
    wanted = [
        Right("list", "discovery.k8s.io", "endpointslices", namespace, needed=False),
        Right("create", "events.k8s.io", "events", namespace, needed=False),
        Right("patch", "events.k8s.io", "events", namespace, needed=False),
    ]
    if anchors_in:
        roots = "linkerd-identity-trust-roots"
        wanted.append(Right("get", "", "configmaps", anchors_in, roots, needed=False, given_by="anchors.yaml"))
    return (*needed, *wanted)


@dataclass(frozen=True)
class Review:
    """`allowed`: what the API server says of a right."""

    right: Right
    allowed: bool


def reviewed(seen: Sequence[Review]) -> Outcome:
    missing = [one.right for one in seen if not one.allowed]
    if not missing:
        return ok(f"each of {len(seen)} rights is given")
    why = f"the API server does not allow {'; '.join(right.words for right in missing)}"
    files = ", ".join(dict.fromkeys(f"config/cluster/{right.given_by}" for right in missing))
    fix = f"give it as {files} does: kubectl apply, as an administrator"
    return (fail if any(right.needed for right in missing) else warn)(why, fix)


# objects -------------------------------------------------------------------------------------------


def workload(faults: Sequence[Fault]) -> Outcome:
    """The first is the reason; each has a detail."""
    if not faults:
        return ok("it describes this host")
    first = of_fault(faults[0])
    more = "; ".join(f"{fault.detail} [{fault.reason}]" for fault in faults[1:])
    return Outcome(first.result, f"{first.why}; {more}" if more else first.why, first.fix)
