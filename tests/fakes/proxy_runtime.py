"""A fake proxy. Held to the contract of tests/contract/test_proxy_runtime.py."""

import asyncio
import dataclasses

from agent.core.facts import Counters, Maybe, Process
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble, Unanswered

UID = 2102

READY = Reading(
    live=True,
    ready=True,
    certificate_expires=3600.0,
    inbound_listening=True,
    outbound_listening=True,
    listener_uids=frozenset({UID}),
    in_flight=0,
    control=Counters(answers=1),
)
STARTING = dataclasses.replace(READY, ready=False, certificate_expires=0.0)
# Started without a Workload API socket: it reports "ready" and serves nothing (docs/linkerd.md §12).
ZOMBIE = dataclasses.replace(READY, certificate_expires=0.0, inbound_listening=False, outbound_listening=False)
NOTHING_READ = Reading()

PROCESS = Process(101, 5000, "boot-1", "/usr/sbin/linkerd2-proxy")


class MemoryHost:
    """The processes of a host; they outlive the runtimes that start them. `born`: rings at each start."""

    def __init__(self, running: Process | None = None) -> None:
        self.running = running
        self.started = 0
        self.born = asyncio.Event()
        self.appeared = asyncio.Event()
        self.ends: dict[Process, asyncio.Future[Fault]] = {}

    def spawn(self) -> Process:
        self.started += 1
        self.running = dataclasses.replace(PROCESS, pid=PROCESS.pid + self.started)
        self.born.set()
        return self.running

    def restart_by_itself(self) -> Process:
        """As systemd does it, independently of the agent."""
        process = self.spawn()
        self.appeared.set()
        return process

    def end(self, process: Process) -> "asyncio.Future[Fault]":
        return self.ends.setdefault(process, asyncio.get_running_loop().create_future())

    def die(self, fault: Fault) -> None:
        """The process that runs ends."""
        assert self.running is not None
        self.end(self.running).set_result(fault)
        self.running = None


class MemoryProxyRuntime:
    """`reading`: what an inspection sees. `trouble`: raised by each start while it is set. `gate`: a start
    waits for it. `deaf`: SIGTERM is ignored. `unheard`: nobody can be asked for it. `unfit`: what is known against
    the next start. `carries`: as the kernel would say. `calls`: what was done, with the time on the loop's
    clock."""

    def __init__(self, host: MemoryHost | None = None) -> None:
        self.host = host or MemoryHost()
        self.reading = READY
        self.trouble: Trouble | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.deaf = self.unheard = False
        self.unfit: Trouble | None = None
        self.carries: Maybe[int] = 0
        self.calls: list[tuple[float, str]] = []
        self._mine: set[Process] = set()

    def called(self, name: str) -> list[float]:
        return [at for at, what in self.calls if what == name]

    async def adopt(self) -> Process | None:
        self._note("adopt")
        return self.host.running

    async def prove(self, version: str) -> None:
        self._note(f"prove {version}".strip())
        if self.unfit is not None:
            raise self.unfit

    async def start(self) -> Process:
        self._note("start")
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        process = self.host.spawn()
        self._mine.add(process)
        return process

    async def appear(self) -> Process:
        await self.host.appeared.wait()
        self.host.appeared.clear()
        assert self.host.running is not None
        return self.host.running

    async def abandon(self) -> None:
        self._note("abandon")

    async def wait(self, process: Process) -> Fault:
        fault = await asyncio.shield(self.host.end(process))
        if process in self._mine:
            return fault
        return Fault(Reason.PROXY_CRASHED, "exit status unknown: adopted")

    async def terminate(self, process: Process) -> None:
        self._note("terminate")
        if self.unheard:
            raise Unanswered(Reason.PROXY_UNIT_FAILED, "no answer")
        if process == self.host.running and not self.deaf:
            self.host.die(Fault(Reason.PROXY_STOPPED))

    async def kill(self, process: Process) -> None:
        self._note("kill")
        if process == self.host.running:
            self.host.die(Fault(Reason.PROXY_KILLED, "killed by SIGKILL"))

    async def carried(self, process: Process) -> Maybe[int]:
        return self.carries

    async def inspect(self, process: Process) -> Reading:
        self._note("inspect")
        return self.reading

    def _note(self, name: str) -> None:
        self.calls.append((asyncio.get_running_loop().time(), name))
