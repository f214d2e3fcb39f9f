"""linkerd2-proxy as a systemd unit: controlled through the privileged helper, read over D-Bus.

Law: only systemd restarts it. This adapter starts, stops and reads the unit; fairlead-proxy.service contains what
must hold without an agent.
"""

import asyncio
import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.adapters import oom_kills, proxy_reading, unit_bus
from agent.adapters.helper import Helper
from agent.adapters.system_bus import SYSTEM_BUS, BusError
from agent.adapters.unit_bus import UnitState
from agent.core import crashes, gate_record, prepared, procfs
from agent.core.facts import UNKNOWN, Maybe, Process
from agent.core.proxy import ProxySettings, Reading
from agent.core.proxy_end import ended_fault, exit_fault, lost_a_worker, may_lose_workers, unit_fault
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.host import Host, boot_id, reading
from agent.ports import Trouble

UNITS = {Slot.MAIN: "fairlead-proxy.service", Slot.STANDBY: "fairlead-proxy-standby.service"}
UNIT = UNITS[Slot.MAIN]
GATE_SAYS = 5.0  # seconds after which a waiting start is reported with its cause
ENDED_WITHIN = 20.0  # seconds for systemd to say how a process has ended
LOGS_EVERY = 30.0  # seconds
PROVED_WITHIN = 14.0  # seconds; the helper's own limit is shorter
BECOMES_EVERY = 0.2  # seconds between two looks at a start that is under way
AGAIN = 1.0  # seconds until the next request, if systemd could not be asked

_UNKNOWN_END = Fault(Reason.PROXY_CRASHED, "exit status unknown")


class UnitProxy:
    """Implements ports.ProxyRuntime. `settings`: called each time, because the version may have changed.
    `root`: below which the host's files lie."""

    def __init__(
        self,
        settings: Callable[[], ProxySettings],
        helper: Helper,
        root: Path,
        bus: str = SYSTEM_BUS,
        slot: Slot = Slot.MAIN,
    ) -> None:
        self._settings, self._helper, self._bus = settings, helper, bus
        self._unit, self._words = UNITS[slot], {} if slot is Slot.MAIN else {"slot": slot.value}
        self._gate = Host(root).gate if slot is Slot.MAIN else Host(root).standby_gate
        # Root records it of the first slot alone.
        self._ended = Host(root).prepared / prepared.ENDED if slot is Slot.MAIN else None
        # They last as long as the unit is busy with the end of its process.
        self._oom_kills = oom_kills.counters(*2 * [f"system.slice/{self._unit}"])
        self._log_read = -LOGS_EVERY
        self._boot_id = boot_id()

    async def adopt(self) -> Process | None:
        return self._process(await self._state())

    async def appear(self) -> Process:
        while True:
            try:
                async with unit_bus.watching(self._unit, self._bus) as unit:
                    return await self._appears(unit)
            except BusError:
                await asyncio.sleep(AGAIN)

    async def prove(self, version: str) -> None:
        words = {"version": version} if version else {}
        answer = await self._helper.ask_within(PROVED_WITHIN, "proxy check", Reason.PROXY_UNIT_FAILED, words)
        if (fault := gate_record.told(str(answer["said"]), str(answer["ended"]))) is not None:
            raise _as_trouble(fault)

    async def start(self) -> Process:
        try:
            async with unit_bus.watching(self._unit, self._bus) as unit:
                async with asyncio.timeout(GATE_SAYS):
                    while (state := await unit.state()).active == "deactivating":
                        await unit.changed()
                if state.active != "activating":  # else it has ended, and systemd restarts it
                    await self._helper.ask("proxy start", Reason.PROXY_UNIT_FAILED, **self._words)
                async with asyncio.timeout(GATE_SAYS):
                    return await self._appears(unit)
        except TimeoutError:
            raise _as_trouble(await self._awaited()) from None
        except BusError as error:
            raise _cannot_ask(error) from None

    async def _appears(self, unit: unit_bus.UnitWatch) -> Process:
        """systemd does not report that the start program has become the proxy."""
        while True:
            state = await unit.state()
            while (process := self._process(state)) is None:
                try:
                    async with asyncio.timeout(BECOMES_EVERY if state.main_pid else None):
                        await unit.changed()
                        break
                except TimeoutError:
                    continue
            else:
                return process

    async def _awaited(self) -> Fault:
        """What keeps a start waiting, as the gate or the launcher recorded it; else how its last process ended,
        which may not have lived long enough to be seen."""
        if (fault := await self._recorded()) is not None:
            return gate_record.awaited(fault)
        ends = crashes.read_ends(await self._read(self._ended)) if self._ended else []
        if ends and ends[-1][1] != crashes.SUCCESS:
            return ended_fault(*ends[-1][1:])
        return Fault(Reason.PROXY_STARTING, "its unit has not come to start it yet")

    async def _recorded(self) -> Fault | None:
        """The proxy's user wrote it, or anything else in its place."""
        return gate_record.read(await self._read(self._gate))

    async def _read(self, record: Path) -> str:
        """ "" if there is none."""
        try:
            return await asyncio.to_thread(reading.text, record, gate_record.MOST)
        except OSError:
            return ""

    async def abandon(self) -> None:
        if (await self._state()).active not in ("inactive", "failed"):
            await self._helper.ask("proxy stop", Reason.PROXY_UNIT_FAILED, **self._words)

    # its end ------------------------------------------------------------------------------------

    async def wait(self, process: Process) -> Fault:
        """At once, before the unit's ExecStopPost= has run: a loop that does not know of the end would take the
        failure policy for drift."""
        await self._gone(process)
        if oom_kills.kills(self._oom_kills):
            return exit_fault(-9, out_of_memory=True)
        fault = _UNKNOWN_END
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(ENDED_WITHIN), unit_bus.watching(self._unit, self._bus) as unit:
                while (state := await unit.state()).main_pid == process.pid:
                    await unit.changed()
                if state.exec_main_pid == process.pid:
                    fault = unit_fault(state.result, state.code, state.status)
        recorded = await self._recorded()  # the launcher's has the detail that its exit code lacks
        return recorded if recorded is not None and recorded.reason is fault.reason else fault

    async def _gone(self, process: Process) -> None:
        """A pidfd reports the end of a process, also of one that is not a child."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(pidfd, news.set)
        try:
            if self._describe(process.pid) == process:
                await news.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    async def terminate(self, process: Process) -> None:
        await self._helper.ask("proxy stop", Reason.PROXY_UNIT_FAILED, **self._words)

    async def kill(self, process: Process) -> None:
        if self._describe(process.pid) == process:
            await self._helper.ask("proxy kill", Reason.PROXY_UNIT_FAILED, **self._words)

    async def carried(self, process: Process) -> Maybe[int]:
        return await asyncio.to_thread(proxy_reading.carried, self._settings(), process)

    async def inspect(self, process: Process) -> Reading:
        settings = self._settings()
        lost = await self._worker_lost(process.pid, settings.version)
        return dataclasses.replace(await proxy_reading.read(settings), worker_lost=lost)

    async def _worker_lost(self, pid: int, version: str) -> Maybe[bool]:
        """By the log, which root reads for us: seldom, and only of versions to which it happens."""
        now = asyncio.get_running_loop().time()
        if not may_lose_workers(version) or now < self._log_read + LOGS_EVERY:
            return UNKNOWN
        self._log_read = now
        with suppress(Trouble):
            logs = await self._helper.ask("proxy logs", Reason.PROXY_UNIT_FAILED, **self._words)
            # What another process said before this one is no fault of its own.
            return lost_a_worker("\n".join(line for line in map(str, logs["lines"]) if f"[{pid}]: " in line))
        return UNKNOWN

    # what systemd says --------------------------------------------------------------------------

    async def _state(self) -> UnitState:
        """Raises Trouble."""
        try:
            async with unit_bus.watching(self._unit, self._bus) as unit:
                return await unit.state()
        except BusError as error:
            raise _cannot_ask(error) from None

    def _process(self, state: UnitState) -> Process | None:
        return self._describe(state.main_pid) if state.main_pid else None

    def _describe(self, pid: int) -> Process | None:
        """None: there is no such process, it has ended, or it is a start that waits. What it executes is root's
        alone to see."""
        try:
            stat = procfs.stat(Path(f"/proc/{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return (
            None
            if stat.state in "ZX" or prepared.is_starting(stat.name)
            else Process(pid, stat.start_ticks, self._boot_id)
        )


def _as_trouble(fault: Fault) -> Trouble:
    return Trouble(fault.reason, fault.detail, remedy=fault.remedy)


def _cannot_ask(error: BusError) -> Trouble:
    return Trouble(Reason.PROXY_UNIT_FAILED, f"cannot ask systemd: {error}")
