"""SPIFFE IDs, by the standard's rules (SPIFFE-ID, §2), only in their canonical form.

The standard allows scheme and trust domain in any case; the canonical form is lower-case. Linkerd compares
identities byte by byte, so another form would never match, and is refused here.
"""

import re

from agent.core.late import dataclass

SCHEME = "spiffe://"
MOST = 2048  # bytes of an ID
MOST_TRUST_DOMAIN = 255
# What the CRD lets spec.meshTLS.identity hold (docs/linkerd.md §5): a longer ID is a valid SVID that no peer can
# expect.
MOST_IN_WORKLOAD = 253


@dataclass(frozen=True)
class SpiffeId:
    trust_domain: str
    path: str  # "" or "/" and segments

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"


def parse(text: str) -> SpiffeId:
    """Raises ValueError that says which rule is broken."""
    if not text.startswith(SCHEME):
        raise ValueError(f"it does not begin with {SCHEME}")
    if len(text.encode()) > MOST:
        raise ValueError(f"it is longer than {MOST} bytes")
    domain, slash, rest = text.removeprefix(SCHEME).partition("/")
    if not re.fullmatch(r"[a-z0-9._-]+", domain):
        raise ValueError("its trust domain is not lower-case letters, digits, dots, dashes and underscores")
    if len(domain) > MOST_TRUST_DOMAIN:
        raise ValueError(f"its trust domain is longer than {MOST_TRUST_DOMAIN} bytes")
    for segment in rest.split("/") if slash else ():
        _check(segment)
    return SpiffeId(domain, slash + rest)


def _check(segment: str) -> None:
    if not segment:
        raise ValueError("its path has an empty segment, or ends with /")
    if segment in (".", ".."):
        raise ValueError(f"its path has the segment {segment}")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", segment):
        raise ValueError("its path is not letters, digits, dots, dashes and underscores")
