import asyncio
from collections.abc import Iterator

from agent.core.facts import UNKNOWN, ProbesFact
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
