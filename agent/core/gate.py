"""What the gate before the proxy said, left by the proxy's user for the agent in the proxy's runtime directory.

The Workload API goes by the caller's user, so only the gate can know what the proxy's user gets; and it runs where
no agent may be alive. Whoever reads this trusts it for words to people alone.
"""

import json

from agent.core.reasons import Fault, Reason

RECORD = "run/fairlead-proxy/gate.json"  # below the prefix; absent while the gate is content
MOST = 4096  # bytes; what is longer was not written by the gate


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
