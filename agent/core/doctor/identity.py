"""Judgements about the host's identity: Workload API, clock, SVIDs, trust anchors."""

from collections.abc import Sequence

from agent.core import identity
from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.late import dataclass
from agent.core.reasons import Fault, Reason

_SYNCHRONISE = "timedatectl set-ntp true; timedatectl status shows whether it is synchronised"
_NOTICED = 5.0  # seconds of difference that a synchronised host never has
_SOON = 42 * 86400.0  # as TrustAnchorsExpiring has it


@dataclass(frozen=True)
class Way:
    """The way to a socket. `closed`: user → the first folder (or the socket) that this user may not pass."""

    path: str
    fault: Fault | None
    closed: dict[str, str]


def socket_reached(way: Way) -> Outcome:
    if way.fault is not None:
        return of_fault(way.fault)
    if not way.closed:
        return ok(way.path)
    users = " and ".join(way.closed)
    place = next(iter(way.closed.values()))
    right = "o+rw" if place == way.path else "o+x"
    return fail(
        f"{place} keeps {users} from {way.path}", f"chmod {right} {place}, or set the mode where it is made"
    )


@dataclass(frozen=True)
class Clock:
    """`ahead`: seconds that the API server's clock is ahead of this host's; None: unknown, because of `unread`.
    `svids`: faults of the SVIDs, of which those about the clock count."""

    ahead: float | None
    unread: str
    svids: Sequence[Fault | None]


def clock(seen: Clock) -> Outcome:
    if seen.ahead is not None and abs(seen.ahead) > _NOTICED:
        way = "behind" if seen.ahead > 0 else "ahead of"
        why = f"this host's clock is {abs(seen.ahead):.0f} s {way} the API server's"
        return (fail if abs(seen.ahead) > identity.MOST_AHEAD else warn)(why, _SYNCHRONISE)
    for fault in seen.svids:
        if fault is not None and fault.reason is Reason.CLOCK_SKEWED:
            return _skewed(fault, agreed=seen.ahead is not None)
    if seen.ahead is None:
        return unknown(f"the API server gives no time to compare with: {seen.unread}")
    return ok("as the API server's, within 5 s")


def _skewed(fault: Fault, *, agreed: bool) -> Outcome:
    """`agreed`: with the API server, so it is the issuer's clock, or an SVID that is not renewed."""
    if not agreed:
        return of_fault(Fault(fault.reason, fault.detail, _SYNCHRONISE))
    why = f"this host's clock is as the API server's, and yet {fault.detail}"
    return fail(why, "correct the SPIRE server's clock; spire-agent healthcheck shows whether SVIDs are renewed")


@dataclass(frozen=True)
class Answer:
    """What the Workload API gives one user. `certified`: what shows that the running program has an SVID although
    this user gets none; "": nothing does."""

    user: str
    uid: int
    spiffe_id: str
    fault: Fault | None
    certified: str = ""


# The Workload API works, and gives this user another SVID or none: only a registration entry helps.
_NO_ENTRY = frozenset({Reason.WORKLOAD_API_DENIED, Reason.IDENTITY_UNEXPECTED})


def svid(answer: Answer) -> Outcome:
    fault = answer.fault
    if fault is None or fault.reason in _TRUST:
        return ok(f"{answer.spiffe_id} for {answer.user}")
    if fault.reason not in _NO_ENTRY:
        return of_fault(fault)
    if answer.certified:
        return ok(
            f"{answer.certified}; asked as {answer.user} there is none, as with entries by unit: "
            "whether a new process gets one is not proved"
        )
    seen = of_fault(fault)
    who = f"asked as {answer.user} (uid {answer.uid}): {seen.why}"
    return fail(who, _entry(answer))


def _entry(answer: Answer) -> str:
    create = "spire-server entry create -parentID PARENT"
    return (
        f"{create} -spiffeID {answer.spiffe_id} -selector unix:uid:{answer.uid}; docs/getting-started.md shows it"
    )


_TRUST = frozenset({Reason.IDENTITY_UNTRUSTED, Reason.TRUST_ANCHORS_UNUSABLE})


@dataclass(frozen=True)
class Anchors:
    """`left`: seconds until the last of them expires."""

    path: str
    fault: Fault | None
    left: float = 0.0


def anchors(seen: Anchors) -> Outcome:
    if seen.fault is not None:
        return of_fault(seen.fault)
    if seen.left < _SOON:
        days = f"{seen.path}: {max(0.0, seen.left) / 86400:.0f} days left"
        return of_fault(Fault(Reason.TRUST_ANCHORS_EXPIRING, days))
    return ok(seen.path)


def trusted(fault: Fault | None) -> Outcome:
    """Of all that the proxy's identity may lack, only what its anchors say."""
    if fault is None:
        return ok("the trust anchors cover the proxy's SVID")
    return of_fault(fault) if fault.reason in _TRUST else unknown("the proxy's user gets no SVID")
