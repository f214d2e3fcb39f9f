"""Runs checks: independent ones side by side, one that depends on another after it, each bounded in time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.doctor.check import NO_ANSWER, Check, Finding, Outcome, cause, of_fault, skipped, unknown
from agent.ports import Trouble

Reader = Callable[[], Awaitable[Any]]


class NotHere(Exception):
    """The check does not apply to this host, or not for this user; says why."""


class Unread(Exception):
    """The check has no reading; says why."""


@dataclass(frozen=True)
class Limits:
    """Seconds. `each`: for the reading of one check. `together`: for all."""

    each: float = 3.0
    together: float = 20.0


async def run(
    checks: Sequence[Check], readers: Mapping[str, Reader], limits: Limits, refused: Callable[[Check], str]
) -> tuple[Finding, ...]:
    """One finding for each check, in their order. `refused`: why a check cannot be run here; "": it can. A reading
    that has not ended at a limit is cancelled, and its check is unknown."""
    running: dict[str, asyncio.Task[Finding]] = {}
    for check in checks:
        before = [running[name] for name in check.needs if name in running]
        work = _find(check, before, readers[check.name], limits.each, refused(check))
        running[check.name] = asyncio.create_task(work, name=f"check: {check.name}")
    try:
        await asyncio.wait(running.values(), timeout=limits.together)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
    late = unknown(f"{NO_ANSWER} in {limits.together:g} s")
    return tuple(
        Finding(check, late) if running[check.name].cancelled() else running[check.name].result()
        for check in checks
    )


async def _find(
    check: Check, before: Sequence[asyncio.Task[Finding]], reader: Reader, within: float, refused: str
) -> Finding:
    found = [await asyncio.shield(one) for one in before]
    if behind := cause(check, {one.check.name: one for one in found}):
        return Finding(check, skipped(f"{behind} failed"), behind)
    if refused:
        return Finding(check, skipped(refused))
    return Finding(check, await _outcome(check, reader, within))


async def _outcome(check: Check, reader: Reader, within: float) -> Outcome:
    try:
        async with asyncio.timeout(within) as limit:
            reading = await reader()
    except TimeoutError as error:
        return unknown(f"{NO_ANSWER} in {within:g} s" if limit.expired() else f"{NO_ANSWER}: {error}")
    except NotHere as error:
        return skipped(str(error))
    except Unread as error:
        return unknown(str(error))
    except Trouble as trouble:
        return of_fault(trouble.fault)
    except Exception as error:  # the other checks are still of use
        return unknown(
            f"this check has a defect: {error!r}", "report it with the output of fairlead doctor --json"
        )
    return check.judge(reading)
