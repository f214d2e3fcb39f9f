"""What the gate before the proxy said, left by the proxy's user for the agent in the proxy's runtime directory.

The Workload API goes by the caller's user, so only the gate can know what the proxy's user gets; and it runs where
no agent may be alive. Whoever reads this trusts it for words to people alone.
"""

import json

from agent.core.reasons import Fault, Reason

MOST = 4096  # bytes; what is longer was not written by the gate


# The Workload API works, and issues this user another SVID or none: only a registration entry helps.
_NO_ENTRY = frozenset({Reason.WORKLOAD_API_DENIED, Reason.IDENTITY_UNEXPECTED})


def awaited(fault: Fault) -> Fault:
    """What a proxy that is not started waits for, so that the remedy fits."""
    if fault.reason in _NO_ENTRY:
        return Fault(Reason.PROXY_IDENTITY_MISSING, f"{fault.reason}: {fault.detail or fault.entry.text}")
    return fault


def printed(text: str) -> Fault | None:
    """The last reason that a gate printed, as "Reason: detail"; None: it printed none."""
    for line in reversed(text.splitlines()):
        reason, _, detail = line.partition(": ")
        if reason in set(Reason):
            return Fault(Reason(reason), detail)
    return None


def proved(fault: Fault | None) -> str:
    """What a preflight says: that nothing is known against a start, or the first fault."""
    return '{"ok": true}\n' if fault is None else written(fault)


def told(text: str, otherwise: str) -> Fault | None:
    """What a preflight said; one that said nothing of the kind has proved nothing (`otherwise`: how it ended)."""
    return None if text == proved(None) else read(text) or Fault(Reason.PROXY_UNIT_FAILED, otherwise)


def written(fault: Fault) -> str:
    return json.dumps({"reason": fault.reason.value, "detail": fault.detail[:500]}) + "\n"


def read(text: str) -> Fault | None:
    """Why the gate is closed; None where this is no word of a gate."""
    try:
        found = json.loads(text[:MOST])
        reason, detail = Reason(found["reason"]), str(found["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Fault(reason, "".join(c for c in detail if c.isprintable())[:500])
