"""Linkerd's own identity: a service account's name, and the token that Linkerd's identity controller gives it for.

Law: pure values. A token is a secret. Its claims are not, and only they are kept here.
"""

import base64
import json

from agent.core import numbers
from agent.core.facts import Svid
from agent.core.identity import MOST_AHEAD, SUITABLE_KEY, utc
from agent.core.late import dataclass
from agent.core.reason import Fault, Reason

AUDIENCE = "identity.l5d.io"


def identity(account: str, namespace: str, control_namespace: str, trust_domain: str) -> str:
    """The name in the certificate (docs/linkerd.md §4). Account and namespace are DNS labels: none with a dot
    gets one."""
    return f"{account}.{namespace}.serviceaccount.identity.{control_namespace}.{trust_domain.rstrip('.')}"


def subject(account: str, namespace: str) -> str:
    """The subject of such a token."""
    return f"system:serviceaccount:{namespace}:{account}"


@dataclass(frozen=True)
class Claims:
    """The claims of a token, not verified. Times: seconds since the epoch."""

    subject: str
    audiences: tuple[str, ...]
    not_before: float
    not_after: float

    @property
    def half_life(self) -> float:
        """When another one should be there."""
        return (self.not_before + self.not_after) / 2


def claims(text: str) -> Claims:
    """Raises ValueError: not such a token. The message contains nothing of the token."""
    try:
        _, middle, _ = text.split(".")
        payload = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        heard = payload["aud"]
        audiences = (heard,) if isinstance(heard, str) else tuple(map(str, heard))
        begins = numbers.moment(payload["nbf"] if "nbf" in payload else payload["iat"])
        ends = numbers.moment(payload["exp"])
        if begins is None or ends is None:
            raise ValueError
        return Claims(str(payload["sub"]), audiences, begins, ends)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is not a service account's token") from None


def usable(found: Claims, wanted: str, wall_now: float) -> Fault | None:
    """Why Linkerd would issue no certificate for it; None: it would. `wanted`: the required subject."""
    if found.subject != wanted:
        return Fault(Reason.IDENTITY_TOKEN_UNSUITABLE, f"it is {found.subject[:200]!r}'s, not {wanted!r}'s")
    if AUDIENCE not in found.audiences:
        heard = ", ".join(found.audiences)[:200]
        return Fault(Reason.IDENTITY_TOKEN_UNSUITABLE, f"its audience is {heard or 'empty'}, not {AUDIENCE}")
    if found.not_before > wall_now + MOST_AHEAD:
        return Fault(Reason.CLOCK_SKEWED, f"the token is valid only from {utc(found.not_before)}")
    if found.not_after <= wall_now:
        return Fault(Reason.IDENTITY_EXPIRED, f"the token was valid until {utc(found.not_after)}")
    return None


def as_svid(name: str, found: Claims) -> Svid:
    """Its identity in the form of the decision: the proxy has the key, and there is no chain until the controller
    has issued one to the proxy."""
    return Svid(name, SUITABLE_KEY, found.not_before, found.not_after)
