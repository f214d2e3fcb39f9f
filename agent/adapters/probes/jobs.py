"""Units that root wrote, started through the privileged helper; systemd says on the system bus how their jobs end.

Nothing is polled: the bus is asked to report the unit's jobs before one is started. systemd unloads a finished
unit without references, with its result, but still reports how its job ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jeepney import HeaderFields, MatchRule, Message, MessageType
from jeepney.auth import AuthenticationError

from agent.adapters.helper import Helper
from agent.adapters.system_bus import SYSTEM_BUS, SYSTEMD, BusError, Connection, HungUp, connected
from agent.core.probe import Attempt, ProbeSpec
from agent.core.reasons import Reason
from agent.ports import Trouble


async def run(spec: ProbeSpec, helper: Helper, path: str = SYSTEM_BUS) -> Attempt:
    """Start spec.unit and wait for its end; at its timeout it is killed whole. No bus, or a privileged helper
    that refuses, is no verdict on the application."""
    started = False
    try:
        async with asyncio.timeout(spec.timeout), _watching(spec.unit, path) as jobs:
            if (wrong := await jobs.unfit(spec.unit)) is not None:
                return Attempt(False, wrong)
            started = True  # the privileged helper may have done it though its answer is lost
            answer = await helper.ask("probe run", Reason.PROBE_FAILING, probe=spec.name)
            return await jobs.verdict(spec.unit, await jobs.end_of(str(answer.get("job"))))
    except TimeoutError:
        if not started:
            return Attempt(None, f"cannot ask systemd: no answer within {spec.timeout:g} s")
        with suppress(Trouble):  # it runs on then, and the next try finds it
            await helper.ask("probe stop", Reason.PROBE_FAILING, probe=spec.name)
        return Attempt(False, f"{spec.unit}: no end within {spec.timeout:g} s")
    except (OSError, HungUp, AuthenticationError) as error:
        return Attempt(None, f"cannot ask systemd on {path}: {str(error) or 'it hung up'}")
    except BusError as error:
        return Attempt(None, f"cannot ask systemd: {error}")
    except Trouble as trouble:
        return Attempt(None, trouble.detail)


class _Jobs:
    """The jobs of units, as systemd reports them. Used by one task. Raises OSError, BusError."""

    def __init__(self) -> None:
        self._ended: dict[str, str] = {}  # job → result

    async def watch(self, unit: str, bus: Connection) -> None:
        self._bus = bus
        rule = MatchRule(
            type="signal", interface=f"{SYSTEMD}.Manager", member="JobRemoved", path="/org/freedesktop/systemd1"
        )
        rule.add_arg_condition(2, unit)
        await bus.subscribe(rule)

    async def unfit(self, unit: str) -> str | None:
        """Why the end of this unit's start would say nothing; None: it is fit."""
        if await self._property(unit, "Unit", "LoadState") == "not-found":
            return f"there is no unit {unit}"
        kind, stays = [await self._property(unit, "Service", key) for key in ("Type", "RemainAfterExit")]
        if kind != "oneshot" or stays:
            return f"{unit} must have Type=oneshot, and no RemainAfterExit"
        return None

    async def end_of(self, job: str) -> str:
        """How a job ended: done, failed, timeout, canceled, dependency, skipped …"""
        while job not in self._ended:
            await self._bus.hear()
        return self._ended[job]

    async def verdict(self, unit: str, result: str) -> Attempt:
        if result == "done":
            return Attempt(True, f"{unit}: done")
        cause = str(await self._property(unit, "Service", "Result"))
        if cause == "exit-code":
            cause = f"exit {await self._property(unit, 'Service', 'ExecMainStatus')}"
        return Attempt(False, f"{unit}: {result}: {cause}")

    async def _property(self, unit: str, kind: str, name: str) -> Any:
        return await self._bus.unit_property(await self._bus.load(unit), kind, name)

    def note(self, message: Message) -> None:
        if (
            message.header.message_type is MessageType.signal
            and message.header.fields.get(HeaderFields.member) == "JobRemoved"
        ):
            _, job, _, result = message.body
            self._ended[job] = result


@asynccontextmanager
async def _watching(unit: str, path: str) -> AsyncIterator[_Jobs]:
    jobs = _Jobs()
    async with connected(path, jobs.note) as bus:
        await bus.hello()
        await jobs.watch(unit, bus)
        yield jobs
