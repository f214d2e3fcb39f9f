"""The agent's unit, started now and at each boot."""

import asyncio
from typing import Final

from agent.adapters import spawn

UNIT: Final = "fairlead.service"
_WITHIN: Final = 90.0  # seconds; the unit's TimeoutStartSec is 60


class Failed(Exception):
    """systemctl failed; says why."""


def start() -> None:
    """A running agent reads its configuration again. Raises Failed."""
    asyncio.run(_start())


async def _start() -> None:
    await _systemctl("enable", UNIT)
    await _systemctl("reload-or-restart", UNIT)


async def _systemctl(*words: str) -> None:
    try:
        done = await spawn.run(["systemctl", *words], within=_WITHIN)
    except spawn.SpawnError as error:
        raise Failed(str(error)) from None
    if done.code != 0:
        raise Failed(done.explain())
