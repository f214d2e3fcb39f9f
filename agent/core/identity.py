"""Which SVID is this host's, whether linkerd2-proxy can serve with it, and how long it is valid."""

from collections.abc import Sequence
from datetime import UTC, datetime

from agent.core.facts import Svid
from agent.core.reasons import Fault, Reason

# linkerd2-proxy takes an SVID with an RSA key, says that it is ready, and every meshed handshake fails:
# its peers verify no RSA-PSS, the only RSA that TLS 1.3 has (facts §1.7).
SUITABLE_KEY = "EC P-256"

# An SVID from further in the future than this, in seconds, means that this host's clock is behind. Issuers
# date an SVID back (SPIRE: 10 s), so clocks that are kept never come near it.
MOST_AHEAD = 60.0


def choose(svids: Sequence[Svid], spiffe_id: str) -> Svid | Fault:
    """The SVID that the proxy would take. Of several with one SPIFFE ID it takes the last: it keeps them in a
    map by ID, and reads no hints."""
    mine = [svid for svid in svids if svid.spiffe_id == spiffe_id]
    if not mine:
        seen = ", ".join(sorted({svid.spiffe_id for svid in svids})) or "none"
        return Fault(Reason.IDENTITY_UNEXPECTED, f"{spiffe_id} is not among the SVIDs: {seen}")
    if mine[-1].key_type != SUITABLE_KEY:
        return Fault(Reason.IDENTITY_KEY_UNSUITABLE, f"{spiffe_id} has a key of type {mine[-1].key_type}")
    return mine[-1]


def validity(svid: Svid, wall_now: float) -> float | Fault:
    """Seconds (> 0) that `svid`, received at `wall_now` (seconds since the epoch), has left.

    An SVID that is not valid yet tells that the clock is behind, and by how much at least; so what is left
    is never more than its whole lifetime.
    """
    if svid.not_before > wall_now + MOST_AHEAD:
        return Fault(Reason.CLOCK_SKEWED, f"{svid.spiffe_id} is valid only from {_utc(svid.not_before)}")
    left = svid.not_after - max(wall_now, svid.not_before)
    if left <= 0:
        return Fault(Reason.CLOCK_SKEWED, f"{svid.spiffe_id} was valid until {_utc(svid.not_after)}")
    return left


def usable(svids: Sequence[Svid], spiffe_id: str, wall_now: float) -> tuple[Svid, float] | Fault:
    """The SVID that the proxy can serve with and the seconds it has left, or why there is none."""
    svid = choose(svids, spiffe_id)
    if isinstance(svid, Fault):
        return svid
    left = validity(svid, wall_now)
    return left if isinstance(left, Fault) else (svid, left)


def gate(svids: Sequence[Svid], spiffe_id: str, wall_now: float) -> Fault | None:
    """What keeps the proxy from being started with these SVIDs; None: nothing does."""
    found = usable(svids, spiffe_id, wall_now)
    return found if isinstance(found, Fault) else None


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
