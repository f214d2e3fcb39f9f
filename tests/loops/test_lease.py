import asyncio
import contextlib
import itertools
from collections.abc import Callable

import pytest

from agent.core.facts import AgentFact, LeaseFact, Phase, PhaseKind
from agent.core.goals import Advertise, Goals
from agent.core.health import Spec
from agent.core.machines import BOOT_ID, MACHINE
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.lease import LeaseLoop
from agent.ports import Lease, Trouble
from tests.core import world
from tests.fakes.status_api import MemoryStatusApi
from tests.loops.running import running

pytestmark = [pytest.mark.status, pytest.mark.watcher]


class Scene:
    def __init__(self, period: float = 10.0, jitter: float = 0.0, machine: str = "") -> None:
        self.api, self.board = MemoryStatusApi(), Board()
        self.api.lease = Lease()
        publish: Callable[[LeaseFact], None] = self.board.setter("lease")
        spec = Spec("spiffe://td/db", "db.sni", (), (), boot_id="boot2", workload="shop/db-1")
        wall, about = lambda: "2026-01-01T00:00:00.000000Z", lambda: {"fairlead.dev/proxy-version": "2.366.0"}
        told = (self.api, spec, self.board, publish, "db-1", wall, lambda: jitter, about, period)
        self.loop = LeaseLoop(*told, machine=machine)

    @property
    def fact(self) -> LeaseFact:
        fact = self.board.facts.value.lease
        assert isinstance(fact, LeaseFact)
        return fact

    def ready(self) -> None:
        self.board.setter("agent")(AgentFact(0.0))

    async def decide_for(self, seconds: int) -> None:
        """The decision loop beats for so long."""
        for _ in range(seconds):
            self.board.decided_at = asyncio.get_running_loop().time()
            await asyncio.sleep(1)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_it_reads_at_once_and_renews_from_ready_on(scene: Scene) -> None:
    async with running(scene.loop.run()):
        await scene.decide_for(100)
        assert scene.fact == LeaseFact("", None, None) and scene.api.calls["renew_lease"] == 0
        scene.ready()
        await scene.decide_for(101)
        assert scene.api.calls["renew_lease"] == 11
        assert scene.board.facts.bells == [], "a renewal leaves nothing behind"
        assert scene.api.lease is not None
        assert (scene.api.lease.holder, scene.api.lease.duration) == ("db-1", 40)
        assert scene.api.lease.annotations["fairlead.dev/proxy-version"] == "2.366.0"


async def test_a_dead_decision_loop_is_not_vouched_for(scene: Scene) -> None:
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(20)
        count = scene.api.calls["renew_lease"]
        await asyncio.sleep(3600)
        assert scene.api.calls["renew_lease"] <= count + 1


async def test_the_boot_id_is_written_only_after_the_mesh_was_told(scene: Scene) -> None:
    scene.api.lease = Lease(annotations={BOOT_ID: "boot1"})
    scene.ready()
    scene.board.goals.set(Goals(advertise=Advertise.NO, reason=Reason.PROXY_STOPPED))
    scene.board.setter("workload")(world.workload("True"))
    async with running(scene.loop.run()):
        await scene.decide_for(30)
        assert scene.fact.boot_id == "boot1" and scene.api.lease.annotations[BOOT_ID] == "boot1"
        scene.board.setter("workload")(world.workload("False"))
        await scene.decide_for(11)
        assert scene.fact.boot_id == "boot2" and scene.api.lease.annotations[BOOT_ID] == "boot2"


async def test_a_missing_lease_is_a_fact_and_is_never_made(scene: Scene) -> None:
    scene.api.lease = None
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(60)
        assert scene.fact.fault is not None and scene.fact.fault.reason is Reason.LEASE_MISSING
        assert scene.api.lease is None
        scene.api.lease = Lease()
        await scene.decide_for(30)
        assert scene.fact.fault is None and scene.fact.renewed_at is not None


async def test_retry_after_is_honoured(scene: Scene) -> None:
    scene.api.troubles = {"renew_lease": Trouble(Reason.API_THROTTLED, "", retry_after=120)}
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(119)
        assert scene.api.calls["renew_lease"] == 1


async def test_handover_gives_ten_minutes_if_it_has_renewed(scene: Scene) -> None:
    await scene.loop.handover()
    assert scene.api.calls["renew_lease"] == 0
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(5)
    await scene.loop.handover()
    assert scene.api.lease is not None and scene.api.lease.duration == 600


async def test_a_host_that_goes_down_hands_nothing_over(scene: Scene) -> None:
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(5)
    scene.board.phase.set(Phase(PhaseKind.SHUTTING_DOWN, 0.0))
    await scene.loop.handover()
    assert scene.api.lease is not None and scene.api.lease.duration == 40


async def test_hosts_that_start_or_lose_the_server_together_do_not_renew_together() -> None:
    """From the second renewal on they are spread over the whole period, and again after each outage."""
    scenes = [Scene(jitter=number / 20) for number in range(20)]
    for scene in scenes:
        scene.ready()
    async with contextlib.AsyncExitStack() as stack:
        for scene in scenes:
            await stack.enter_async_context(running(scene.loop.run()))
        await _alive(scenes, 35)
        assert _spread(scenes, 10) > 7
        for scene in scenes:
            scene.api.troubles = {"renew_lease": Trouble(Reason.API_UNREACHABLE)}
        await _alive(scenes, 120)
        for scene in scenes:
            scene.api.troubles = {}
        await _alive(scenes, 40)
        assert _spread(scenes, 10) > 7


async def _alive(scenes: list[Scene], seconds: int) -> None:
    for _ in range(seconds):
        for scene in scenes:
            scene.board.decided_at = asyncio.get_running_loop().time()
        await asyncio.sleep(1)


def _spread(scenes: list[Scene], period: float) -> float:
    """How much of the period holds the renewals: all of it but the longest time without one."""
    times = sorted((scene.fact.renewed_at or 0.0) % period for scene in scenes)
    gaps = [later - earlier for earlier, later in itertools.pairwise([*times, times[0] + period])]
    return period - max(gaps)


@pytest.mark.parametrize(("period", "duration"), [(5.0, 20), (7.6, 31), (60.0, 240)])
async def test_the_lease_lasts_four_periods(period: float, duration: int) -> None:
    scene = Scene(period=period)
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(301)
    assert scene.api.lease is not None and scene.api.lease.duration == duration
    assert scene.api.calls["renew_lease"] == int(300 / period) + 1


async def test_a_machine_writes_itself_into_a_new_lease() -> None:
    scene = Scene(machine="here")
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(12)
        assert scene.api.lease is not None and scene.api.lease.annotations[MACHINE] == "here"
        assert scene.fact.fault is None


async def test_a_lease_of_another_machine_is_not_renewed() -> None:
    """A re-imaged host, or a second host of one name: the other may be serving."""
    scene = Scene(machine="here")
    scene.api.lease = Lease(holder="other", annotations={MACHINE: "there", BOOT_ID: "boot1"})
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(60)
        assert scene.api.calls["renew_lease"] == 0 and scene.api.lease.holder == "other"
        fault = scene.fact.fault
        assert fault is not None and fault.reason is Reason.MACHINE_DIFFERS
        assert "fairlead enrol db-1 -n shop --replace" in fault.way_out
        scene.api.lease = Lease()  # what that command does
        await scene.decide_for(30)
        assert scene.fact.fault is None and scene.api.lease.annotations[MACHINE] == "here"


async def test_a_renewal_that_the_policy_refuses_reads_whose_lease_it_is() -> None:
    scene = Scene(machine="here")
    scene.ready()
    async with running(scene.loop.run()):
        await scene.decide_for(12)
        scene.api.lease = Lease(annotations={MACHINE: "there"})
        scene.api.troubles = {"renew_lease": Trouble(Reason.API_REFUSED, "a host writes the annotation once")}
        await scene.decide_for(30)
        assert scene.fact.fault is not None and scene.fact.fault.reason is Reason.MACHINE_DIFFERS
