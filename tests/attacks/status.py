"""A status socket of an agent that has nothing to report."""

from pathlib import Path

from agent.adapters.status_socket import StatusSocket
from agent.core.facts import PhaseKind


async def _changed(_version: int, _seconds: float) -> None:
    return


async def _ask(_phase: PhaseKind) -> None:
    return


def empty(path: Path) -> StatusSocket:
    return StatusSocket(path, dict, _changed, _ask)
