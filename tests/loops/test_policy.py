import asyncio
import dataclasses

from agent.core.facts import UNKNOWN, AgentFact, IdentityFact, Phase, PhaseKind, Svid
from agent.core.goals import Advertise, ProxyGoal
from agent.loops.board import ALIVE_WITHIN, Board
from agent.loops.policy import PolicyLoop
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import ID, SPEC
from tests.loops.running import running


async def test_it_beats_and_decides_at_each_change() -> None:
    board, loop = Board(), asyncio.get_running_loop()
    board.phase.set(Phase(PhaseKind.MEMBER))
    board.setter("replacement")(None)
    async with running(PolicyLoop(SPEC, board, board.setter("agent")).run()):
        for _ in range(20):
            await asyncio.sleep(30)
            assert board.alive(loop.time(), ALIVE_WITHIN)
        board.setter("anchors")(world.ANCHORED)
        board.setter("addresses")(world.PRESENT)
        board.setter("identity")(world.identity("usable"))
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert board.goals.value.proxy is ProxyGoal.RUNNING


async def test_ready_is_when_every_fact_but_the_probes_has_a_first_value() -> None:
    board = Board()
    async with running(PolicyLoop(SPEC, board, board.setter("agent")).run()):
        known = serving()
        changed = ("replacement", "configuration", "folders")
        for field in ("identity", "anchors", "proxy", "redirect", "addresses", "workload", "lease", *changed):
            await asyncio.sleep(1)
            assert board.facts.value.ready_at is None
            board.setter(field)(getattr(known, field))
        await asyncio.sleep(1)
        assert board.facts.value.ready_at is not None
        assert board.facts.value.probes is UNKNOWN


async def test_it_wakes_when_time_alone_changes_the_goals() -> None:
    board, loop = Board(), asyncio.get_running_loop()
    board.phase.set(Phase(PhaseKind.MEMBER))
    ends = loop.time() + 8
    received = ends - 3600
    svid = IdentityFact(Svid(ID, "EC P-256", 0, 0), ends, received_at=received)
    board.facts.set(dataclasses.replace(serving(identity=svid, agent=AgentFact(loop.time()))))
    async with running(PolicyLoop(SPEC, board, board.setter("agent")).run()):
        seen = []
        for pause in (2.9, 0.2):
            await asyncio.sleep(pause)
            seen.append(board.goals.value.proxy)
        assert seen == [ProxyGoal.RUNNING, ProxyGoal.HOLD]
        assert board.goals.value.advertise is Advertise.YES  # the proxy's own certificate still stands
