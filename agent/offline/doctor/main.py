"""One run of the host's checks."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.doctor import host_checks
from agent.core.doctor.check import NEEDS_ROOT, Check, Finding, selected
from agent.host import Host, reading
from agent.loops import checks
from agent.offline.doctor import readings, sources


@dataclass(frozen=True)
class Wanted:
    """`names`: of checks; (): all. `each`: seconds for one of them. `joined`: False before the host joins."""

    names: Sequence[str] = ()
    each: float = checks.Limits.each
    joined: bool = True

    @property
    def limits(self) -> checks.Limits:
        """One that gives each check more time has more for all of them."""
        return checks.Limits(self.each, checks.Limits.together * max(1.0, self.each / checks.Limits.each))


def examine(prefix: str, wanted: Wanted) -> tuple[Finding, ...]:
    """Raises KeyError: there is no check of that name."""
    return asyncio.run(examined(prefix, wanted))


async def examined(prefix: str, wanted: Wanted) -> tuple[Finding, ...]:
    chosen = selected(host_checks.HOST, wanted.names)
    joined = wanted.joined and not reading.absent(Host.below(prefix).configuration)

    def refused(check: Check) -> str:
        if check.root and os.geteuid() != 0:
            return NEEDS_ROOT
        return "" if joined or not check.joined else "this host has not joined a mesh"

    async with sources.opened(prefix) as found:
        return await checks.run(chosen, readings.of_host(found), wanted.limits, refused)
