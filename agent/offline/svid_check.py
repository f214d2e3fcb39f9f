"""Whether linkerd2-proxy can serve with what the Workload API gives its user: the one judgement, of the identity
gate that waits and of a start that asks once.

Law: as `proxyunit.start`, which loads this before each start of the proxy.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.adapters import x509_chains
from agent.core import identity
from agent.core.anchors import Certificates
from agent.core.reason import Fault, Reason
from agent.core.svid import Svid


class Wanted(NamedTuple):
    spiffe_id: str
    hint: str


def fault(
    svids: Sequence[Svid], wanted: Wanted, anchors: Callable[[], Certificates] | None, wall_now: float
) -> Fault | None:
    """None: it can. `anchors`: reads those in force; None: none are known. What it raises is raised here."""
    found = identity.usable(svids, wanted.spiffe_id, wall_now, wanted.hint)
    if isinstance(found, Fault):
        return found
    svid, _ = found
    if anchors is None or x509_chains.covered_until(anchors(), svid.chain) is not None:
        return None
    return Fault(Reason.IDENTITY_UNTRUSTED, wanted.spiffe_id)
