"""An answer with X.509-SVIDs, described. One SVID that cannot be read hides no other.

Of each SVID only its description is kept.
"""

from collections.abc import Sequence
from typing import Any

from agent.adapters.workload_api import messages, x509_svid
from agent.core.svid import Svid


def read(answer: bytes) -> Sequence[Svid]:
    """At least one. Raises ValueError."""
    try:
        svids = messages.x509_svids(answer)
    except ValueError as error:
        raise ValueError(f"an answer that cannot be read: {error}") from None
    if not svids:
        raise ValueError("an answer without any SVID")
    return [_describe(svid) for svid in svids]


def _describe(svid: Any) -> Svid:
    """One that cannot be read is described as such: it hides no other, and what it says of itself stays."""
    try:
        found = x509_svid.describe(svid.x509_svid, svid.x509_svid_key)
    except x509_svid.Malformed as error:
        return Svid(svid.spiffe_id, "", 0.0, 0.0, svid.hint, f"cannot read it: {error}")
    return Svid(
        found.spiffe_id,
        found.key_type,
        found.not_before,
        found.not_after,
        svid.hint,
        _flaw(found, svid.spiffe_id),
        found.chain,
        x509_svid.authorities(svid.bundle),
    )


def _flaw(found: x509_svid.Described, claimed: str) -> str:
    if not found.key_fits:
        return "its key does not belong to its certificate"
    return "" if claimed == found.spiffe_id else f"its certificate is for {found.spiffe_id}"
