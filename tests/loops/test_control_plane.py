"""The checks of the control plane: none without a proxy, often without its answer, rarely with it."""

import asyncio
import dataclasses

from agent.core.facts import UNKNOWN, Control, ControlPlaneFact
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board
from agent.loops.control_plane import GRACE, RECHECK, SELDOM, ControlPlaneLoop
from tests.core import world
from tests.core.test_control_plane import proxy
from tests.core.test_policy import serving
from tests.fakes.control_plane import MemoryControlPlane
from tests.loops.running import running

UNREACHABLE = Fault(Reason.CONTROL_PLANE_UNREACHABLE, "refused")
BOTH = ControlPlaneFact(UNREACHABLE, UNREACHABLE)


def board(**changes: object) -> Board:
    made = Board()
    made.facts.set(serving(**changes))
    return made


async def test_it_says_why_there_is_no_answer_and_looks_again() -> None:
    control, here = (
        MemoryControlPlane(BOTH),
        board(proxy=proxy(Control(False)), redirect=world.redirect("on", "off")),
    )
    async with running(ControlPlaneLoop(control, here, here.setter("control_plane"), outbound=True).run()):
        await asyncio.sleep(GRACE / 2)
        assert control.dials == [], "a proxy has a moment for its first answer"
        await asyncio.sleep(GRACE)
        assert here.facts.value.control_plane == BOTH
        await asyncio.sleep(10 * (RECHECK + GRACE))
        assert 9 <= len(control.dials) <= 12 and all(control.dials)
        control.found = ControlPlaneFact()
        here.facts.set(dataclasses.replace(here.facts.value, proxy=proxy(Control(True))))
        await asyncio.sleep(0.1)
        assert here.facts.value.control_plane == ControlPlaneFact(), "the answer has come"
        before = len(control.dials)
        await asyncio.sleep(10 * SELDOM)
        assert 9 <= len(control.dials) - before <= 11


async def test_what_is_redirected_is_not_dialled() -> None:
    control, here = MemoryControlPlane(), board()
    async with running(ControlPlaneLoop(control, here, here.setter("control_plane"), outbound=True).run()):
        await asyncio.sleep(1)
        assert control.dials == [False]


async def test_where_nothing_goes_out_the_destination_controller_is_nothing() -> None:
    control, here = MemoryControlPlane(BOTH), board()
    async with running(ControlPlaneLoop(control, here, here.setter("control_plane"), outbound=False).run()):
        await asyncio.sleep(1)
        assert here.facts.value.control_plane == ControlPlaneFact(UNREACHABLE)


async def test_without_a_proxy_nobody_looks() -> None:
    for absent in (UNKNOWN, world.proxy("stopped"), world.proxy("starting"), proxy(None)):
        control, here = MemoryControlPlane(), board(proxy=absent)
        async with running(ControlPlaneLoop(control, here, here.setter("control_plane"), outbound=True).run()):
            await asyncio.sleep(1000)
        assert control.dials == []
