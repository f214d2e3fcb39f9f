"""The runner of checks: side by side, in order of dependence, within its limits."""

import asyncio
from collections.abc import Sequence

from agent.core.doctor.check import Check, Finding, Result, ok, unless
from agent.core.reasons import Fault, Reason
from agent.loops import checks
from agent.loops.checks import Limits, NotHere, Reader
from agent.ports import Trouble

A = Check("a", "is a so", unless("good"))
B = Check("b", "is b so", unless("good"), ("a",))
C = Check("c", "is c so", unless("good"))
FAULT = Fault(Reason.API_FORBIDDEN, "no")


async def good() -> None:
    return None


async def bad() -> Fault:
    return FAULT


async def never() -> None:
    await asyncio.Event().wait()


async def run(
    registry: Sequence[Check], limits: Limits | None = None, refused: str = "", **readers: Reader
) -> dict[str, Finding]:
    found = await checks.run(registry, readers, limits or Limits(), lambda check: refused)
    assert [one.check for one in found] == list(registry)
    return {one.check.name: one for one in found}


async def test_what_depends_on_a_failed_check_is_not_read() -> None:
    found = await run((A, B, C), a=bad, b=never, c=good)
    assert found["a"].outcome.result is Result.FAIL
    assert found["b"].behind == "a" and found["b"].outcome.result is Result.SKIPPED
    assert found["c"].outcome == ok("good")


async def test_independent_checks_wait_for_each_other() -> None:
    """Each of two readings ends only once the other has begun."""
    begun = {"a": asyncio.Event(), "c": asyncio.Event()}

    async def meet(mine: str, other: str) -> None:
        begun[mine].set()
        await begun[other].wait()

    found = await run((A, C), a=lambda: meet("a", "c"), c=lambda: meet("c", "a"))
    assert {one.outcome.result for one in found.values()} == {Result.OK}


async def test_a_reading_without_an_answer_is_unknown_and_silences_nothing() -> None:
    found = await run((A, B), Limits(each=0.05, together=60.0), a=never, b=good)
    assert found["a"].outcome.why == "no answer in 0.05 s" and found["a"].outcome.result is Result.UNKNOWN
    assert found["b"].outcome == ok("good")


async def test_all_end_together() -> None:
    found = await run((A, B, C), Limits(each=60.0, together=0.05), a=never, b=never, c=good)
    assert found["a"].outcome.why == found["b"].outcome.why == "no answer in 0.05 s"
    assert found["c"].outcome == ok("good")


async def test_what_does_not_apply_says_why() -> None:
    async def not_here() -> None:
        raise NotHere("identity.mode is token")

    found = await run((A, B), a=not_here, b=good)
    assert found["a"].outcome.result is Result.SKIPPED and found["a"].outcome.why == "identity.mode is token"
    assert found["b"].outcome == ok("good")


async def test_what_is_refused_is_not_read() -> None:
    found = await run((A,), refused="needs root", a=never)
    assert found["a"].outcome.why == "needs root" and not found["a"].behind


async def test_trouble_is_judged_by_its_reason() -> None:
    async def trouble() -> None:
        raise Trouble(Reason.API_FORBIDDEN, "no")

    assert (await run((A,), a=trouble))["a"].outcome == (await run((A,), a=bad))["a"].outcome


async def test_a_defect_of_one_check_leaves_the_others() -> None:
    async def broken() -> None:
        raise ZeroDivisionError("oops")

    found = await run((A, C), a=broken, c=good)
    assert "defect: ZeroDivisionError('oops')" in found["a"].outcome.why
    assert found["a"].outcome.result is Result.UNKNOWN and found["c"].outcome == ok("good")
