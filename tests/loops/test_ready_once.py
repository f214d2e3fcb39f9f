"""That the host has been Ready: read at once, recorded when it is published, removed with the phase."""

import asyncio
import dataclasses
from collections.abc import Callable

from agent.core import policy
from agent.core.facts import UNKNOWN, Phase, PhaseKind, ReadyOnceFact
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board
from agent.loops.ready_once import RETRY, ReadyOnceLoop
from agent.ports import Trouble
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC
from tests.fakes.ready_record import MemoryReadyRecord
from tests.loops.running import running

MEMBER, LEFT = Phase(PhaseKind.MEMBER), Phase(PhaseKind.LEFT)
TROUBLE = Trouble(Reason.STATE_UNWRITABLE, "no space left")
YES, NO = Goals(advertise=Advertise.YES), Goals(advertise=Advertise.NO)


async def soon(condition: Callable[[], bool], within: float = 1.0) -> None:
    """In virtual time, in which a second is nothing."""
    await asyncio.sleep(within)
    assert condition()


def board(mesh: str = "True", goals: Goals = YES, phase: Phase = MEMBER) -> Board:
    made = Board()
    made.phase.set(phase)
    made.goals.set(goals)
    made.facts.set(serving(workload=world.workload(mesh)))
    return made


async def test_it_is_recorded_once_it_is_ready_and_published() -> None:
    record, here = MemoryReadyRecord(), board(mesh="False")
    async with running(ReadyOnceLoop(record, here, here.setter("ready_once")).run()):
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(False))
        here.facts.set(dataclasses.replace(here.facts.value, workload=world.workload("True")))
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(True))
        here.goals.set(NO)
        await soon(lambda: record.recorded)
        here.goals.set(YES)
        await soon(lambda: record.recorded)
        assert record.writes == 1


async def test_an_old_ready_that_still_stands_is_no_proof() -> None:
    for here in (board(goals=Goals()), board(goals=NO), board(phase=LEFT), board(mesh="False")):
        record = MemoryReadyRecord()
        async with running(ReadyOnceLoop(record, here, here.setter("ready_once")).run()):
            await asyncio.sleep(1)
        assert here.facts.value.ready_once == ReadyOnceFact(False)
        assert record.writes == 0


async def test_leaving_forgets() -> None:
    record, here = MemoryReadyRecord(recorded=True), board()
    async with running(ReadyOnceLoop(record, here, here.setter("ready_once")).run()):
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(True))
        record.recorded = False  # as the privileged helper does
        here.phase.set(LEFT)
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(False))


async def test_a_record_that_cannot_be_read_is_unknown_until_it_can() -> None:
    record, here = MemoryReadyRecord(recorded=True), board()
    record.trouble = TROUBLE
    async with running(ReadyOnceLoop(record, here, here.setter("ready_once")).run()):
        await soon(lambda: here.facts.value.ready_once is UNKNOWN)
        assert here.facts.value.all_known_but_probes()
        record.trouble = None
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(True), RETRY)


async def test_a_record_that_cannot_be_written_is_named_and_written_later() -> None:
    record, here = MemoryReadyRecord(), board(goals=NO)
    async with running(ReadyOnceLoop(record, here, here.setter("ready_once")).run()):
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(False))
        record.trouble = TROUBLE
        here.goals.set(YES)
        named = ReadyOnceFact(False, Fault(Reason.STATE_UNWRITABLE, "no space left"))
        await soon(lambda: here.facts.value.ready_once == named)
        # Ready is what it is; only the failure policy waits.
        assert policy.decide(SPEC, MEMBER, here.facts.value, NOW).goals.advertise is Advertise.YES
        record.trouble = None
        await soon(lambda: here.facts.value.ready_once == ReadyOnceFact(True), RETRY)
