"""The probe loop: tries the local application, one task a probe, and publishes their verdicts."""

import asyncio
from collections.abc import Callable, Sequence

from agent.core.facts import ProbeFact, ProbesFact
from agent.core.probe import ProbeSpec, Tally
from agent.ports import Prober


class ProbeLoop:
    def __init__(self, prober: Prober, specs: Sequence[ProbeSpec], publish: Callable[[ProbesFact], None]) -> None:
        self._prober, self._specs, self._publish = prober, specs, publish
        self._verdicts = {spec.name: ProbeFact(spec.name) for spec in specs}

    async def run(self) -> None:
        self._publish(ProbesFact(tuple(self._verdicts.values())))
        async with asyncio.TaskGroup() as group:
            for spec in self._specs:
                group.create_task(self._probe(spec), name=f"probe {spec.name}")

    async def _probe(self, spec: ProbeSpec) -> None:
        """One try each period, counted from start to start, as kubelet does."""
        loop, tally = asyncio.get_running_loop(), Tally()
        due = loop.time()
        while True:
            tally = tally.count(spec, await self._prober.attempt(spec))
            self._verdicts[spec.name] = ProbeFact(spec.name, tally.verdict, tally.detail)
            self._publish(ProbesFact(tuple(self._verdicts.values())))
            due = max(due + spec.period, loop.time())
            await asyncio.sleep(due - loop.time())
