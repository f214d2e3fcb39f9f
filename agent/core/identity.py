"""Which SVID is this host's, whether linkerd2-proxy can serve with it, and how long it is valid."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.core.late import replace
from agent.core.reason import Fault, Reason
from agent.core.spiffe import MOST_IN_WORKLOAD
from agent.core.svid import Svid

if TYPE_CHECKING:
    from agent.core.facts import IdentityFact

# linkerd2-proxy takes an SVID with an RSA key, says that it is ready, and every meshed handshake fails:
# its peers verify no RSA-PSS, the only RSA that TLS 1.3 has (docs/linkerd.md §1.7).
SUITABLE_KEY = "EC P-256"

# An SVID from further in the future than this, in seconds, means that this host's clock is behind. Issuers
# date an SVID back (SPIRE: 10 s), so clocks that are kept never come near it.
MOST_AHEAD = 60.0


# Of the validity that an SVID came with: SPIRE replaces it at half of its life, so one that has used up more tells
# of a source that is stuck.
OVERDUE = 0.75

# A host whose SVID runs out goes unready this many seconds before its peers see errors: the time that Linkerd
# needs to tell them (drain.settle has the same default), and that their clocks may be ahead. Where it came with
# less than 20 s, a quarter of those: its successor comes at half, and must never come too late.
EXPIRY_MARGIN = 5.0

# Every fact has a first value within 5 s of the start, whatever its source does. Seconds.
FIRST_FACT_WITHIN = 4.5


def margin(left: float) -> float:
    """Seconds before the end of an SVID that was valid for `left` seconds when it came."""
    return min(EXPIRY_MARGIN, left / 4)


def received(held: "IdentityFact", svid: Svid, left: float, now: float, fault: Fault | None) -> "IdentityFact":
    """What is held from now on. `left`: seconds for which `svid` is valid at `now`, on the monotonic clock."""
    return replace(
        held,
        svid=svid,
        expires_at=now + left,
        received_at=now,
        rotates_at=now + left - svid.lifetime / 2,
        updates=held.updates + 1,
        bundle=svid.bundle,
        fault=fault,
    )


def choose(svids: Sequence[Svid], spiffe_id: str, hint: str = "") -> Svid | Fault:
    """The SVID that the proxy would take. Of several with one SPIFFE ID it takes the last: it keeps them in a
    map by ID, and reads no hints. So a `hint` cannot choose; it says which one that must be."""
    mine = [svid for svid in svids if svid.spiffe_id == spiffe_id]
    if not mine:
        return _missing(svids, spiffe_id)
    taken = mine[-1]
    if hint and taken.hint != hint:
        return Fault(Reason.IDENTITY_UNEXPECTED, f"the proxy would take the hint {taken.hint!r}, not {hint!r}")
    if taken.flaw:
        return Fault(Reason.IDENTITY_MALFORMED, f"{spiffe_id}: {taken.flaw}")
    if taken.key_type != SUITABLE_KEY:
        return Fault(Reason.IDENTITY_KEY_UNSUITABLE, f"{spiffe_id} has a key of type {taken.key_type}")
    return taken


def _missing(svids: Sequence[Svid], spiffe_id: str) -> Fault:
    for svid in svids:
        if len(svid.spiffe_id) > MOST_IN_WORKLOAD:
            detail = f"{svid.spiffe_id[:60]}… has {len(svid.spiffe_id)} characters"
            return Fault(Reason.IDENTITY_TOO_LONG, detail)
    seen = ", ".join(sorted({svid.spiffe_id for svid in svids})) or "none"
    return Fault(Reason.IDENTITY_UNEXPECTED, f"{spiffe_id} is not among the SVIDs: {seen}")


def validity(svid: Svid, wall_now: float) -> float | Fault:
    """Seconds (> 0) that `svid`, received at `wall_now` (seconds since the epoch), has left.

    An SVID that is not valid yet tells that the clock is behind, and by how much at least; so what is left
    is never more than its whole lifetime.
    """
    if svid.not_before > wall_now + MOST_AHEAD:
        return Fault(Reason.CLOCK_SKEWED, f"{svid.spiffe_id} is valid only from {utc(svid.not_before)}")
    left = svid.not_after - max(wall_now, svid.not_before)
    if left <= 0:
        return Fault(Reason.CLOCK_SKEWED, f"{svid.spiffe_id} was valid until {utc(svid.not_after)}")
    return left


def usable(svids: Sequence[Svid], spiffe_id: str, wall_now: float, hint: str = "") -> tuple[Svid, float] | Fault:
    """The SVID that the proxy can serve with and the seconds it has left, or why there is none."""
    svid = choose(svids, spiffe_id, hint)
    if isinstance(svid, Fault):
        return svid
    left = validity(svid, wall_now)
    return left if isinstance(left, Fault) else (svid, left)


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
