"""Each loop that waits reports its last and its next attempt."""

import asyncio

from agent.core.attempts import LastAttempt
from agent.core.facts import Control, ControlPlaneFact, ProbesFact
from agent.core.goals import RedirectGoal
from agent.core.reasons import Reason
from agent.loops import control_plane, redirect
from agent.loops.addresses import RECHECK, AddressesLoop
from agent.loops.attempts import Attempts
from agent.loops.board import Board
from agent.loops.control_plane import ControlPlaneLoop
from agent.loops.lease import PERIOD
from agent.loops.probe import ProbeLoop
from agent.ports import Trouble
from tests.core import world
from tests.core.test_control_plane import proxy
from tests.fakes.control_plane import MemoryControlPlane
from tests.fakes.interfaces import MemoryInterfaces
from tests.fakes.workload_api import MemoryWorkloadApi, svid
from tests.loops import test_identity, test_lease, test_redirect, test_status
from tests.loops.running import running
from tests.loops.test_control_plane import BOTH, board
from tests.loops.test_probe import SPEC, Script

AWAY = Trouble(Reason.API_UNREACHABLE, "refused")


async def test_the_workload_api_is_tried_again_and_a_stream_ends_that() -> None:
    api = MemoryWorkloadApi()
    api.fail(Reason.WORKLOAD_API_ABSENT)
    desk = test_identity.Desk(api)
    seen = desk.attempts.seen
    async with running(desk.loop.run()):
        await asyncio.sleep(0.1)
        assert seen["IdentityValid"] == LastAttempt(0.0, 0.2, failed=True)
        await asyncio.sleep(60)
        assert seen["IdentityValid"].next_at == seen["IdentityValid"].last_at + 5.0, "the longest pause"
        api.serve(svid(not_after=1000.0))
        await asyncio.sleep(6)
        assert "IdentityValid" not in seen


async def test_the_api_server_is_tried_again_by_readings_writings_and_the_lease() -> None:
    scene, lease = test_status.Scene(), test_lease.Scene()
    scene.api.troubles["read"] = lease.api.troubles["read_lease"] = AWAY
    async with running(scene.loop.run()), running(lease.loop.run()):
        await asyncio.sleep(0.1)
        assert scene.board.attempts.seen["WorkloadMatches"] == LastAttempt(0.0, 0.25, failed=True)
        assert lease.board.attempts.seen["Lease"] == LastAttempt(0.0, 0.5, failed=True)
        scene.api.troubles.clear()
        lease.api.troubles.clear()
        lease.ready()
        scene.show(test_status.YES)
        await lease.decide_for(30)
        assert scene.board.attempts.seen == {}
        found = lease.board.attempts.seen["Lease"]
        assert not found.failed and found.next_at == found.last_at + PERIOD
        scene.api.troubles["patch_conditions"] = AWAY
        scene.show(test_status.NO)
        await asyncio.sleep(0.1)
        assert scene.board.attempts.seen["Ready"].failed


async def test_the_rules_are_looked_at_again() -> None:
    async with test_redirect.Scene().playing() as scene:
        seen = scene.board.attempts.seen
        assert seen["RedirectActive"] == LastAttempt(0.0, redirect.RECHECK)
        scene.break_helper()
        scene.goals(RedirectGoal.ON)
        await asyncio.sleep(0.1)
        found = seen["RedirectActive"]
        assert found.failed and found.next_at == found.last_at + 0.25


async def test_the_control_plane_is_looked_at_often_without_its_answer_and_seldom_with_it() -> None:
    for answered, failed, pause in ((False, True, control_plane.RECHECK), (True, False, control_plane.SELDOM)):
        control = MemoryControlPlane(ControlPlaneFact() if answered else BOTH)
        here = board(proxy=proxy(Control(answered)))
        loop = ControlPlaneLoop(control, here, here.setter("control_plane"), outbound=True)
        async with running(loop.run()):
            await asyncio.sleep(control_plane.GRACE + 0.1)
            found = here.attempts.seen["ControlPlaneReached"]
            assert (found.failed, found.next_at) == (failed, found.last_at + pause)
            here.setter("proxy")(world.proxy("stopped"))
            await asyncio.sleep(0.1)
            assert here.attempts.seen == {}, "no proxy, no look"


async def test_a_probe_and_the_addresses_are_looked_at_again() -> None:
    told: list[ProbesFact] = []
    attempts, here = Attempts(), Board()
    addresses = AddressesLoop(MemoryInterfaces(), [], here.setter("addresses"), attempts)
    async with running(ProbeLoop(Script("-+"), [SPEC], told.append, attempts).run()), running(addresses.run()):
        await asyncio.sleep(0.1)
        assert attempts.seen["probe app"] == LastAttempt(0.0, SPEC.period, failed=True)
        assert attempts.seen["AddressesPresent"] == LastAttempt(0.0, RECHECK)
        await asyncio.sleep(SPEC.period)
        assert attempts.seen["probe app"] == LastAttempt(SPEC.period, 2 * SPEC.period)
