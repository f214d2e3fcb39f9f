"""The result of the gate before the proxy, written by the proxy's user into the proxy's runtime directory.

The Workload API identifies the caller by its user, so only the gate knows what the proxy's user gets. The gate
also runs without an agent. Readers use this record only for messages to people.
"""

import json

from agent.core.reason import Fault, Reason

MOST = 4096  # bytes; what is longer was not written by the gate


# The Workload API works but issues this user another SVID or none: only a registration entry helps.
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
    """The result of a preflight: no fault is known, or the first fault."""
    return '{"ok": true}\n' if fault is None else written(fault)


def told(text: str, otherwise: str) -> Fault | None:
    """The result of a preflight; without one, nothing is proved (`otherwise`: how it ended)."""
    return None if text == proved(None) else read(text) or Fault(Reason.PROXY_UNIT_FAILED, otherwise)


def written(fault: Fault) -> str:
    return json.dumps({"reason": fault.reason.value, "detail": fault.detail[:500]}) + "\n"


def read(text: str) -> Fault | None:
    """Why the gate is closed; None if this is not a gate's output."""
    try:
        record = json.loads(text[:MOST])
        reason, detail = Reason(record["reason"]), str(record["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Fault(reason, "".join(c for c in detail if c.isprintable())[:500])
