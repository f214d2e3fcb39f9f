import asyncio
import itertools
import time
from collections.abc import Iterator

import pytest

from agent.core.facts import UNKNOWN, ProbeFact, ProbesFact
from agent.core.probe import Attempt, ProbeSpec
from agent.loops.probe import ProbeLoop
from tests.loops.running import running


class Script:
    """Answers one attempt after the other from a script, then repeats the last."""

    def __init__(self, results: str) -> None:
        self.results: Iterator[str] = iter(results)
        self.last = results[-1]
        self.times: list[float] = []

    async def attempt(self, spec: ProbeSpec) -> Attempt:
        self.times.append(asyncio.get_running_loop().time())
        match next(self.results, self.last):
            case "+":
                return Attempt(True)
            case "-":
                return Attempt(False, "refused")
            case _:
                await asyncio.sleep(spec.timeout)
                return Attempt(False, "timeout")


SPEC = ProbeSpec("app", "tcp", "10.9.0.2", 8080)


async def verdicts(script: Script, spec: ProbeSpec, seconds: float) -> list[object]:
    seen: list[ProbesFact] = []
    async with running(ProbeLoop(script, [spec], seen.append).run()):
        await asyncio.sleep(seconds)
    return [fact.probes[0].passing for fact in seen]


async def test_unknown_before_the_first_verdict_then_kubelets_thresholds() -> None:
    assert await verdicts(Script("---+"), SPEC, 35) == [UNKNOWN, UNKNOWN, UNKNOWN, False, True]


async def test_one_success_is_a_verdict_and_two_failures_are_none() -> None:
    assert await verdicts(Script("+--+"), SPEC, 35) == [UNKNOWN, True, True, True, True]


async def test_a_try_each_period_however_long_each_takes() -> None:
    script = Script("t")
    start = asyncio.get_running_loop().time()
    await verdicts(script, SPEC, 41)
    assert [time - start for time in script.times] == [0, 10, 20, 30, 40]


async def test_a_timeout_longer_than_the_period_does_not_pile_up() -> None:
    script = Script("t")
    start = asyncio.get_running_loop().time()
    await verdicts(script, ProbeSpec("app", "tcp", "10.9.0.2", 8080, period=1, timeout=3), 10)
    assert [time - start for time in script.times] == [0, 3, 6, 9]


async def test_no_probe_is_known_at_once() -> None:
    seen: list[ProbesFact] = []
    async with running(ProbeLoop(Script("+"), [], seen.append).run()):
        await asyncio.sleep(1)
    assert seen == [ProbesFact()]


# a startup probe ----------------------------------------------------------------------------------------

START = ProbeSpec("start", "tcp", "10.9.0.2", 8080, period=5, failure_threshold=2, startup=True)


async def test_a_startup_probe_holds_the_others_back_and_then_rests() -> None:
    start, app = Script("---+"), Script("+")
    seen: list[ProbesFact] = []

    class Both:
        async def attempt(self, spec: ProbeSpec) -> Attempt:
            return await (start if spec.startup else app).attempt(spec)

    begin = asyncio.get_running_loop().time()
    async with running(ProbeLoop(Both(), [SPEC, START], seen.append).run()):
        await asyncio.sleep(36)
    assert [p.detail for p in seen[0].probes] == [
        "held back until every startup probe has passed",
        "not tried yet",
    ]
    assert [t - begin for t in start.times] == [0, 5, 10, 15]
    assert [t - begin for t in app.times] == [15, 25, 35]
    assert [tuple(p.passing for p in fact.probes) for fact in seen][:6] == [
        (UNKNOWN, UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (UNKNOWN, False),
        (UNKNOWN, False),
        (UNKNOWN, True),
        (True, True),
    ]


# a pushed heartbeat -------------------------------------------------------------------------------------

PUSHED = ProbeSpec("beat", "push", ttl=60)


async def pushing(*pushes: tuple[float, float]) -> list[tuple[float, object]]:
    """Push at each (time, ttl); when the verdict changed, and to what."""
    loop, seen = asyncio.get_running_loop(), list[tuple[float, object]]()
    start = loop.time()

    def publish(fact: ProbesFact) -> None:
        verdict = fact.probes[0].passing
        if not seen or seen[-1][1] is not verdict:
            seen.append((loop.time() - start, verdict))

    probe = ProbeLoop(Script("+"), [PUSHED], publish)
    async with running(probe.run()):
        for at, ttl in pushes:
            await asyncio.sleep(start + at - loop.time())
            probe.push("beat", ttl)
        await asyncio.sleep(100)
    return seen


async def test_a_heartbeat_is_unknown_before_the_first_push() -> None:
    assert await pushing() == [(0, UNKNOWN)]


async def test_a_heartbeat_fails_when_its_time_runs_out() -> None:
    assert await pushing((3, 30)) == [(0, UNKNOWN), (3, True), (33, False)]


async def test_a_push_in_time_goes_on_and_one_too_late_brings_it_back() -> None:
    assert await pushing((1, 10), (10, 10), (19, 5), (40, 2)) == [
        (0, UNKNOWN),
        (1, True),
        (24, False),
        (40, True),
        (42, False),
    ]


async def test_a_push_in_the_moment_of_the_end_is_believed_and_runs_out_too() -> None:
    seen = await pushing((0, 10), (10, 10))
    assert seen[0] == (0, UNKNOWN) and seen[-1] == (20, False)


async def test_a_heartbeat_is_not_held_back_by_a_startup_probe() -> None:
    seen: list[ProbesFact] = []
    probe = ProbeLoop(Script("-"), [PUSHED, START], seen.append)
    async with running(probe.run()):
        await asyncio.sleep(1)
        assert seen[-1].probes[0] == ProbeFact("beat", UNKNOWN, "no push yet")
        probe.push("beat", 30)
        await asyncio.sleep(1)
    assert seen[-1].probes[0].passing is True


# clocks ---------------------------------------------------------------------------------------------------


async def test_a_wall_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call for the time of day while probes run returns a time that is years later."""
    days = itertools.count(0, 10_000_000)
    monkeypatch.setattr(time, "time", lambda: float(next(days)))
    assert await verdicts(Script("+---+"), SPEC, 45) == [UNKNOWN, True, True, True, False, True]
    assert await pushing((3, 30)) == [(0, UNKNOWN), (3, True), (33, False)]
