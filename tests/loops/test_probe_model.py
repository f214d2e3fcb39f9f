"""The probe loop against a small model of kubelet's prober: initial delay, startup probes, periods, thresholds."""

import asyncio
from collections.abc import Iterator

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.facts import UNKNOWN, ProbesFact
from agent.core.probe import Attempt, ProbeSpec
from agent.loops.probe import ProbeLoop

LENGTH = 60  # seconds that both live through
Event = tuple[float, str, object]  # when, which probe, the verdict after that try

RESULTS = {"+": True, "-": False, "?": None}
scripts = st.text(st.sampled_from("+-?"), min_size=1, max_size=12)


@st.composite
def probes(draw: st.DrawFn) -> tuple[list[ProbeSpec], dict[str, str]]:
    specs = [
        ProbeSpec(
            name,
            "tcp",
            initial_delay=draw(st.integers(0, 15)),
            period=draw(st.integers(1, 9)),
            success_threshold=1 if name < "b" else draw(st.integers(1, 3)),
            failure_threshold=draw(st.integers(1, 4)),
            startup=name < "b",
        )
        for name in draw(st.sets(st.sampled_from(["a1", "a2", "b1", "b2"]), min_size=1))
    ]
    return specs, {spec.name: draw(scripts) for spec in specs}


class Model:
    """Second by second, in kubelet's words: a worker does nothing before initialDelaySeconds, nothing before
    every startup probe has passed unless it is one, and nothing any more once it is one that has. It counts
    equal results in a row, drops errors, and keeps what it last published while a run is below its threshold.

    Here a worker's first try comes when nothing holds it back any longer; kubelet's waits for its next tick,
    up to one period more.
    """

    def __init__(self, specs: list[ProbeSpec], scripts: dict[str, str]) -> None:
        self.specs, self.scripts = specs, scripts
        self.due = {spec.name: spec.initial_delay for spec in specs}
        self.history: dict[str, list[bool]] = {spec.name: [] for spec in specs}
        self.verdict: dict[str, object] = {spec.name: UNKNOWN for spec in specs}
        self.tries = {spec.name: 0 for spec in specs}

    def live(self) -> list[Event]:
        seen: list[Event] = []
        for second in range(LENGTH):
            # A startup probe that passes lets the others go within the same second.
            for spec in sorted(self.specs, key=lambda spec: not spec.startup):
                if second >= self.due[spec.name] and not self.held(spec):
                    self.work(spec)
                    self.due[spec.name] = second + spec.period
                    seen.append((second, spec.name, self.verdict[spec.name]))
        return seen

    def held(self, spec: ProbeSpec) -> bool:
        if spec.startup:
            return self.verdict[spec.name] is True
        return any(other.startup and self.verdict[other.name] is not True for other in self.specs)

    def work(self, spec: ProbeSpec) -> None:
        script, number = self.scripts[spec.name], self.tries[spec.name]
        self.tries[spec.name] += 1
        result = RESULTS[script[min(number, len(script) - 1)]]
        if result is None:
            return
        history = self.history[spec.name]
        history.append(result)
        threshold = spec.success_threshold if result else spec.failure_threshold
        if history[-threshold:] == [result] * threshold:
            self.verdict[spec.name] = result


class Scripted:
    def __init__(self, scripts: dict[str, str]) -> None:
        self.scripts = {name: _repeating(script) for name, script in scripts.items()}
        self.tried: list[str] = []

    async def attempt(self, spec: ProbeSpec) -> Attempt:
        self.tried.append(spec.name)
        return Attempt(RESULTS[next(self.scripts[spec.name])])


def _repeating(script: str) -> Iterator[str]:
    yield from script
    while True:
        yield script[-1]


async def lived(specs: list[ProbeSpec], scripts: dict[str, str]) -> list[Event]:
    prober, loop, seen = Scripted(scripts), asyncio.get_running_loop(), list[Event]()
    start = loop.time()

    def publish(fact: ProbesFact) -> None:
        if prober.tried:
            name = prober.tried.pop()
            seen.extend((loop.time() - start, name, p.passing) for p in fact.probes if p.name == name)

    task = asyncio.create_task(ProbeLoop(prober, specs, publish).run())
    await asyncio.sleep(LENGTH - 0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seen


@given(probes())
@settings(max_examples=25, deadline=None)
def test_the_loop_is_the_model(drawn: tuple[list[ProbeSpec], dict[str, str]]) -> None:
    specs, scripts = drawn
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        found = runner.run(lived(specs, scripts))
    assert sorted(found, key=str) == sorted(Model(specs, scripts).live(), key=str)
