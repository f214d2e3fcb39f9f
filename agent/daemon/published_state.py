"""The agent's published state: its snapshot at the socket, and the annotations of its Lease."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent import __version__
from agent.config import changes, derived
from agent.core import policy_drain
from agent.core import snapshot as core_snapshot
from agent.core.enrol import DRAINED
from agent.core.facts import UNKNOWN
from agent.daemon.context import Context


def snapshot(it: Context) -> dict[str, Any]:
    board, now = it.board, asyncio.get_running_loop().time()
    shot = core_snapshot.snapshot(it.spec, board.phase.value, board.facts.value, board.goals.value, now)
    return {
        "schema": core_snapshot.SCHEMA,
        "workload": it.name,
        "agent": __version__,
        "version": board.version,
        "configuration": it.count,
        "configuration_digest": changes.digest(it.config),
        "proxy_version": derived.proxy_version(it.config, str(it.host.prefix)),
        **shot,
        "attempts": core_snapshot.attempts(board.attempts.seen, now),
        "credential": core_snapshot.timed(it.credential.about(), now),
    }


def lease_annotations(it: Context) -> Mapping[str, str]:
    """What changes often, and so must not be in a condition."""
    annotations = {
        "fairlead.dev/agent-version": __version__,
        "fairlead.dev/proxy-version": derived.proxy_version(it.config, str(it.host.prefix)),
    }
    now = asyncio.get_running_loop().time()
    if policy_drain.retiring(it.board.facts.value):
        drained = policy_drain.has_drained(it.spec, it.board.phase.value, it.board.facts.value, now)
        annotations[DRAINED] = str(drained).lower()
    fact = it.board.facts.value.identity
    if fact is not UNKNOWN and fact.svid is not None:
        annotations["fairlead.dev/svid-expires"] = datetime.fromtimestamp(fact.svid.not_after, UTC).isoformat()
    anchored = it.board.facts.value.anchors
    if anchored is not UNKNOWN and anchored.expires_at is not None:
        ends = time.time() + anchored.expires_at - now
        annotations["fairlead.dev/anchors-expire"] = datetime.fromtimestamp(ends, UTC).date().isoformat()
    return annotations
