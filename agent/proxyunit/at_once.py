"""Whether the proxy may be started at once: nothing keeps it waiting, by one question to the Workload API.

Law: as little is loaded as the judgement needs: a host whose proxy died has none meanwhile. It never waits for
anything to change and reports nothing: then the gate (`proxyunit.gate`) does both.
"""

import time
from pathlib import Path

from agent.adapters import workload_api
from agent.adapters.grpc_client import MOST, Failed, blocking
from agent.adapters.workload_api import answers
from agent.core import anchors, prepared
from agent.core.prepared import Plan
from agent.host import Host, reading, secrecy
from agent.offline import svid_check
from agent.proxyunit import crash_count

_WITHIN = 1.0  # seconds; the gate waits longer
_GATE = Host().gate.name  # its record, absent while it is open
_ANCHORS = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"


def passes(prefix: str, plan: Plan, folder: Path) -> bool:
    """`folder`: the unit's runtime directory."""
    count = crash_count.counted(folder, Path(prefix, prepared.FOLDER, prepared.ENDED))
    if count > 1 or not plan.workload_api:  # a pause; in token mode the gate makes a key
        return False
    secrecy.no_core_files()  # the Workload API gives it the proxy's key
    crash_count.begin(folder, count)
    if not has_identity(plan):
        return False
    reading.discard(folder / _GATE)
    crash_count.begin(folder, count)
    print(f"usable: {plan.spiffe_id} (prepared)", flush=True)
    return True


def has_identity(plan: Plan) -> bool:
    """The gate would be open now."""
    headers, wanted = workload_api.HEADERS, svid_check.Wanted(plan.spiffe_id, plan.hint)
    try:
        answer = blocking.first(plan.workload_api, workload_api.FETCH_X509, b"", headers, MOST, _WITHIN)
        in_force = anchors.certificates(plan.environment.get(_ANCHORS, ""))
        return svid_check.fault(answers.read(answer), wanted, lambda: in_force, time.time()) is None
    except (Failed, OSError, ValueError):
        return False
