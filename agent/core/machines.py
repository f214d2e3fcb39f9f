"""Which machine renews a Lease: what tells a re-imaged host, or a second host of one name, from the one before.

Machines that were made from one image have one machine-id. They are told apart by their renewals: each writes a
time of its own into the Lease, and finds the other's.
"""

from typing import Final

from agent.core.facts import UNKNOWN, Facts, LeaseFact, Maybe
from agent.core.health import Spec
from agent.core.late import dataclass
from agent.core.matching import addresses_standing
from agent.core.reasons import Fault, Reason

MACHINE: Final = "fairlead.dev/machine"  # annotations of the Lease: which machine renews it, and in which boot
BOOT_ID: Final = "fairlead.dev/boot-id"
REMEMBERED: Final = 600.0  # seconds for which a renewal by another host counts: the longest that a Lease lasts
PROOF: Final = 2  # so many of them: one may be of the agent before this one, as it ended
# Answers that name no machine: there is no Lease, or this host has no right to read it.
NOBODYS: Final = frozenset({Reason.LEASE_MISSING, Reason.API_FORBIDDEN})


@dataclass(frozen=True)
class Twin:
    """What was seen of another host that renews this Lease. `times`: when, on the monotonic clock."""

    times: tuple[float, ...] = ()

    def renewed(self, now: float) -> "Twin":
        return Twin((*self.times, now)[-PROOF:])

    def proved(self, now: float) -> bool:
        return len(self.times) == PROOF and now - self.times[0] < REMEMBERED


def fault(there: str, here: str, workload: str) -> Fault | None:
    """`there`: in the Lease; `here`: this machine; "": not known. `workload`: NAMESPACE/NAME."""
    if not (there and here) or there == here:
        return None
    namespace, _, name = workload.partition("/")
    remedy = f"if this host was re-imaged: fairlead enrol {name} -n {namespace} --replace"
    return Fault(Reason.MACHINE_DIFFERS, f"machine {there} in the Lease, {here} here", remedy)


def renewed_by_another_boot(there: str, here: str) -> Fault | None:
    """Boot ids, in the Lease and here, for a program that sees no renewals. Machines of one image differ in them;
    so does a host from itself before its last boot."""
    if there in ("", here):
        return None
    return Fault(Reason.HOST_DUPLICATED, f"boot id in the Lease: {there}, here: {here}")


def whose_is_known(lease: Maybe[LeaseFact]) -> bool:
    """Whether the Lease was read. Before, it may be another machine's; an API server that does not answer proves
    nothing."""
    if lease is UNKNOWN:
        return False
    return lease.boot_id is not UNKNOWN or lease.fault is None or lease.fault.reason in NOBODYS


def of_another(spec: Spec, facts: Facts) -> Reason | None:
    """Why the Lease, and with it the ExternalWorkload, is another machine's, which may be serving; None: it is
    this host's. Of two hosts with one machine-id, peers reach the one with the address."""
    lease = facts.lease
    if lease is UNKNOWN or lease.fault is None:
        return None
    reason = lease.fault.reason
    if reason is Reason.HOST_DUPLICATED:
        return reason if isinstance(addresses_standing(spec, facts), Fault) else None
    return reason if reason is Reason.MACHINE_DIFFERS else None
