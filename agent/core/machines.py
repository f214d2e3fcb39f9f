"""Which machine renews a Lease: what tells a re-imaged host, or a second host of one name, from the one before."""

from typing import Final

from agent.core.facts import UNKNOWN, Facts
from agent.core.reasons import Fault, Reason

MACHINE: Final = "fairlead.dev/machine"  # the annotation of the Lease


def fault(there: str, here: str, workload: str) -> Fault | None:
    """`there`: in the Lease; `here`: this machine; "": not known. `workload`: NAMESPACE/NAME."""
    if not (there and here) or there == here:
        return None
    namespace, _, name = workload.partition("/")
    remedy = f"if this host was re-imaged: fairlead enrol {name} -n {namespace} --replace"
    return Fault(Reason.MACHINE_DIFFERS, f"machine {there} in the Lease, {here} here", remedy)


def of_another(facts: Facts) -> bool:
    """The Lease, and with it the ExternalWorkload, is another machine's, which may be serving."""
    lease = facts.lease
    return lease is not UNKNOWN and lease.fault is not None and lease.fault.reason is Reason.MACHINE_DIFFERS
