"""The probe loop: probes the local application, with one task per probe, and publishes the results.

It uses only the event loop's monotonic clock: a jump of the wall clock changes no result.
"""

import asyncio
from collections.abc import Callable, Sequence

from agent.core.facts import UNKNOWN, Maybe, ProbeFact, ProbesFact
from agent.core.probe import ProbeSpec, Tally
from agent.loops.attempts import Attempts
from agent.ports import Prober


class ProbeLoop:
    """`initial_delay` counts from the start of `run`: the agent does not know when the application started."""

    def __init__(
        self,
        prober: Prober,
        specs: Sequence[ProbeSpec],
        publish: Callable[[ProbesFact], None],
        attempts: Attempts | None = None,
    ) -> None:
        self._prober, self._specs, self._publish = prober, specs, publish
        self._attempts = attempts or Attempts()
        self._verdicts = {spec.name: ProbeFact(spec.name, UNKNOWN, _before(spec, specs)) for spec in specs}
        self._heartbeats = {spec.name: _Heartbeat() for spec in specs if spec.kind == "push"}
        self._starting = {spec.name for spec in specs if spec.startup}
        self._started = asyncio.Event()

    async def run(self) -> None:
        self._publish(ProbesFact(tuple(self._verdicts.values())))
        self._let_go()
        async with asyncio.TaskGroup() as group:
            for spec in self._specs:
                probe = self._listen if spec.kind == "push" else self._try
                group.create_task(probe(spec), name=f"probe {spec.name}")

    def push(self, name: str, ttl: float) -> None:
        """The application reports that it is healthy for the next `ttl` seconds. `name`: of a push probe."""
        self._heartbeats[name].push(ttl)

    async def _try(self, spec: ProbeSpec) -> None:
        """One attempt per period, counted from start to start, as kubelet does."""
        loop, tally = asyncio.get_running_loop(), Tally()
        await asyncio.sleep(spec.initial_delay)
        if not spec.startup:
            await self._started.wait()
        due = loop.time()
        while True:
            began = loop.time()
            tally = tally.count(spec, await self._prober.attempt(spec))
            self._attempts.tallies.probed(spec.name, loop.time() - began)
            self._say(spec, tally.verdict, tally.detail)
            if spec.startup and tally.verdict is True:
                self._attempts.over(f"probe {spec.name}")
                break
            due = max(due + spec.period, loop.time())
            failed = tally.verdict is not True
            self._attempts.made(f"probe {spec.name}", due - loop.time(), failed=failed)
            await asyncio.sleep(due - loop.time())
        self._starting.discard(spec.name)
        self._let_go()

    def _let_go(self) -> None:
        if not self._starting:
            self._started.set()

    async def _listen(self, spec: ProbeSpec) -> None:
        """A startup probe does not hold it back: a push means that the application has started."""
        heartbeat = self._heartbeats[spec.name]
        while True:
            beating = await heartbeat.next()
            self._say(spec, beating, "pushed" if beating else f"no push within {heartbeat.ttl:g} s of the last")

    def _say(self, spec: ProbeSpec, verdict: Maybe[bool], detail: str) -> None:
        self._verdicts[spec.name] = ProbeFact(spec.name, verdict, detail)
        self._publish(ProbesFact(tuple(self._verdicts.values())))


def _before(spec: ProbeSpec, specs: Sequence[ProbeSpec]) -> str:
    """The detail of a probe that has not been tried yet."""
    if spec.kind == "push":
        return "no push yet"
    held = not spec.startup and any(other.startup for other in specs)
    return "held back until every startup probe has passed" if held else "not tried yet"


class _Heartbeat:
    def __init__(self) -> None:
        self.ttl = 0.0
        self._until: float | None = None
        self._bell = asyncio.Event()

    def push(self, ttl: float) -> None:
        self.ttl, self._until = ttl, asyncio.get_running_loop().time() + ttl
        self._bell.set()

    async def next(self) -> bool:
        """True at the next push, False once when the time of the last one has expired."""
        try:
            async with asyncio.timeout_at(self._until):
                await self._bell.wait()
        except TimeoutError:
            if not self._bell.is_set():  # else a push arrived at the last moment
                self._until = None
                return False
        self._bell.clear()
        return True
