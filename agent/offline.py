"""The composition root of the verbs that work with the agent dead."""

import asyncio
import time

from agent.adapters import spire
from agent.core import identity
from agent.core.reasons import Fault
from agent.ports import Trouble

AVAILABLE, UNAVAILABLE = 0, 69


def identity_gate(socket: str, spiffe_id: str, wait_seconds: float) -> int:
    """Whether the Workload API has an SVID for whoever runs this that linkerd2-proxy can serve with.

    Prints one line; 0 if there is one, else 69 with the reason.
    """
    fault = asyncio.run(_gate(socket, spiffe_id, wait_seconds))
    if fault is None:
        print(f"usable: {spiffe_id}")
        return AVAILABLE
    print(f"{fault.reason}: {fault.detail or fault.entry.text}")
    return UNAVAILABLE


async def _gate(socket: str, spiffe_id: str, wait_seconds: float) -> Fault | None:
    try:
        return identity.gate(await spire.fetch_once(socket, wait_seconds), spiffe_id, time.time())
    except Trouble as trouble:
        return trouble.fault
