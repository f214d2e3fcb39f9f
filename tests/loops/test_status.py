import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from agent.core.conditions import PREFIX
from agent.core.facts import (
    UNKNOWN,
    AgentFact,
    Condition,
    Control,
    IdentityFact,
    LeaseFact,
    Phase,
    PhaseKind,
    ProxyFact,
    ProxyState,
    Svid,
    Workload,
    WorkloadFact,
)
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.status import StatusLoop
from agent.ports import Trouble
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.fakes.status_api import MemoryStatusApi
from tests.loops.running import running

YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)
PLAIN = Workload("", "", SPEC.identity, "db.sni", ("10.9.0.2",), (8080,))


class Scene:
    def __init__(self, api: MemoryStatusApi | None = None, jitter: float = 0.0) -> None:
        self.api, self.board, self.hour = api or MemoryStatusApi(), Board(), 12
        if api is None:
            self.api.create(PLAIN)
        self.board.setter("lease")(LeaseFact(""))
        publish: Callable[[WorkloadFact], None] = self.board.setter("workload")
        self.loop = StatusLoop(
            self.api, SPEC, self.board, publish, lambda: f"2026-01-01T{self.hour:02}:00:00Z", lambda: jitter
        )

    def show(self, goals: Goals) -> None:
        """A member of the mesh on which all is well, whose goals are these."""
        now = asyncio.get_running_loop().time()
        workload = self.board.facts.value.workload
        facts = serving(identity=IdentityFact(Svid(SPEC.identity, "", 0, 0), now + 1e6), workload=workload)
        proxy = ProxyFact(ProxyState.READY, certificate_expires_at=now + 1e6, control=Control(True))
        self.board.facts.set(dataclasses.replace(facts, proxy=proxy, agent=AgentFact(now), lease=LeaseFact("")))
        self.board.phase.set(Phase(PhaseKind.MEMBER, now))
        self.board.goals.set(goals)

    @property
    def fact(self) -> WorkloadFact:
        fact = self.board.facts.value.workload
        assert isinstance(fact, WorkloadFact)
        return fact

    @property
    def mesh(self) -> list[tuple[str, str]]:
        assert self.api.workload is not None
        return [(c.status, c.reason) for c in self.api.workload.conditions if c.type == "Ready"]


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_it_reads_and_writes_nothing_while_holding(scene: Scene) -> None:
    async with running(scene.loop.run()):
        await asyncio.sleep(3600)
        assert scene.fact.seen == scene.api.workload
        assert scene.api.patches == []


async def test_one_write_per_change_and_none_while_nothing_changes(scene: Scene) -> None:
    async with running(scene.loop.run()):
        scene.board.goals.set(YES)
        await asyncio.sleep(3600)
        scene.board.setter("agent")(AgentFact(asyncio.get_running_loop().time()))  # facts move on, Ready does not
        await asyncio.sleep(3600)
        assert scene.mesh == [("True", "HostReady")] and len(scene.api.patches) == 1
        scene.board.goals.set(NO)
        await asyncio.sleep(1)
        assert scene.mesh == [("False", "ProbeFailing")] and scene.fact.writes == 2


async def test_exactly_one_ready_entry_and_the_others_are_kept(scene: Scene) -> None:
    other = Condition("example.com/Backup", "True", "Fresh", "", "then")
    scene.api.edit(conditions=(Condition("Ready", "False", "A"), other, Condition("Ready", "True", "B")))
    scene.board.goals.set(NO)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
    assert scene.mesh == [("False", "ProbeFailing")]
    assert scene.api.workload is not None and other in scene.api.workload.conditions


async def test_anothers_edit_is_corrected_once_and_named(scene: Scene) -> None:
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        scene.api.edit(conditions=(Condition("Ready", "False", "ByHand"),))
        await asyncio.sleep(1)
        assert scene.mesh == [("True", "HostReady")] and len(scene.api.patches) == 2
        assert scene.fact.edited is not None and scene.fact.edited.reason is Reason.STATUS_EDITED
        scene.board.setter("agent")(UNKNOWN)
        await asyncio.sleep(3 * 3600)
        scene.board.goals.set(NO)
        await asyncio.sleep(1)
        assert scene.fact.edited is None, "it is over"


async def test_somebody_who_writes_again_and_again_is_not_fought(scene: Scene) -> None:
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        for _ in range(4 * 120):
            if scene.mesh == [("True", "HostReady")]:
                scene.api.edit(conditions=(Condition("Ready", "False", "ByHand"),))
            await asyncio.sleep(30)
        assert 5 <= len(scene.api.patches) <= 12
        scene.board.goals.set(NO)
        await asyncio.sleep(10)
        scene.board.goals.set(YES)
        await asyncio.sleep(1)
        assert scene.mesh == [("True", "HostReady")], "news of our own never wait for that"


async def test_what_the_watcher_took_away_comes_back_after_a_renewal(scene: Scene) -> None:
    """Only a Lease renewed since then proves that this host can be heard again."""
    scene.board.goals.set(YES)
    renewed = scene.board.setter("lease")
    async with running(scene.loop.run()):
        renewed(LeaseFact(renewed_at=asyncio.get_running_loop().time()))
        await asyncio.sleep(1)
        gone = (Condition("Ready", "Unknown", Reason.HOST_UNREACHABLE.value),)
        scene.api.edit(conditions=gone)
        await asyncio.sleep(3600)
        assert scene.api.workload is not None and scene.api.workload.conditions == gone
        renewed(LeaseFact(renewed_at=asyncio.get_running_loop().time()))
        await asyncio.sleep(1)
        assert scene.mesh == [("True", "HostReady")] and len(scene.api.patches) == 2
        assert scene.fact.edited is None and scene.fact.fell_at == (), "neither an edit nor a fall of ours"


async def test_the_api_is_away_for_hours_and_the_truth_is_written_once(scene: Scene) -> None:
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        away = Trouble(Reason.API_UNREACHABLE, "no route")
        scene.api.troubles = {"read": away, "patch_conditions": away}
        scene.api.trouble_watches(away)
        for goals in (NO, YES, NO):
            scene.board.goals.set(goals)
            await asyncio.sleep(3600)
        assert scene.fact.fault == away.fault and scene.fact.seen is not None
        assert scene.api.calls["read"] < 3 * 3600 / 15 + 20, "it backs off"
        scene.api.troubles.clear()
        await asyncio.sleep(60)
        assert scene.mesh == [("False", "ProbeFailing")] and scene.fact.writes == 2
        assert scene.fact.fault is None


@pytest.mark.parametrize("reason", [Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN, Reason.API_FAILING])
async def test_trouble_from_the_first_moment_is_a_fact(scene: Scene, reason: Reason) -> None:
    scene.api.troubles = {"read": Trouble(reason)}
    async with running(scene.loop.run()):
        await asyncio.sleep(4)
        assert scene.fact.seen is None and scene.fact.fault is not None and scene.fact.fault.reason is reason
        scene.api.troubles.clear()
        await asyncio.sleep(40)
        assert scene.fact.seen is not None and scene.fact.fault is None


async def test_a_write_that_fails_is_tried_again_and_named(scene: Scene) -> None:
    scene.api.troubles = {"patch_conditions": Trouble(Reason.API_FORBIDDEN, "no")}
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(600)
        assert scene.fact.fault is not None and scene.fact.fault.reason is Reason.API_FORBIDDEN
        assert scene.api.calls["patch_conditions"] < 60
        scene.api.troubles.clear()
        await asyncio.sleep(60)
        assert scene.mesh == [("True", "HostReady")] and scene.fact.fault is None


async def test_retry_after_is_honoured(scene: Scene) -> None:
    scene.api.troubles = {"patch_conditions": Trouble(Reason.API_THROTTLED, "slow down", retry_after=300)}
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(299)
        assert scene.api.calls["patch_conditions"] == 1


async def test_a_conflict_reads_again_and_writes_what_is_true_then(scene: Scene) -> None:
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        scene.api.troubles = {"patch_conditions": Trouble(Reason.API_CONFLICT)}
        scene.board.goals.set(YES)
        await asyncio.sleep(0.1)
        scene.api.troubles.clear()
        await asyncio.sleep(5)
        assert scene.mesh == [("True", "HostReady")] and scene.api.calls["read"] >= 2


async def test_missing_then_made_then_deleted_then_recreated(scene: Scene) -> None:
    scene.api.delete()
    scene.board.goals.set(NO)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        assert scene.fact.fault is not None and scene.fact.fault.reason is Reason.WORKLOAD_MISSING
        scene.api.create(PLAIN)
        await asyncio.sleep(60)
        assert scene.mesh == [("False", "ProbeFailing")]
        scene.api.delete()
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert scene.fact.seen is None
        scene.api.create(PLAIN)
        await asyncio.sleep(60)
        assert scene.mesh == [("False", "ProbeFailing")] and scene.fact.fault is None


async def test_a_server_that_ends_each_watch_at_once_is_not_hammered(scene: Scene) -> None:
    async with running(scene.loop.run()):
        for _ in range(600):
            await asyncio.sleep(0.1)
            scene.api.end_watches()
        assert scene.api.calls["read"] < 150


async def test_unready_since_is_when_it_was_first_seen_unready(scene: Scene) -> None:
    clock = asyncio.get_running_loop()
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(10)
        assert scene.fact.unready_since is None
        scene.board.goals.set(NO)
        await asyncio.sleep(10)
        assert scene.fact.unready_since == pytest.approx(clock.time() - 10, abs=0.5)


async def test_a_late_watch_event_does_not_undo_our_own_write(scene: Scene) -> None:
    """The watch may deliver a version that our patch has overtaken; it is passed over."""
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        scene.api.edit(ports=(1,))
        scene.api.edit(ports=(2,))
        await asyncio.sleep(5)
        assert len(scene.api.patches) == 1 and scene.fact.seen == scene.api.workload


class Overtaken(MemoryStatusApi):
    """What the watch tells and what a write is answered come in the wrong order."""

    late: Workload | None = None
    edits = False

    async def watch(self, resource_version: str) -> AsyncGenerator[Workload | None, None]:
        async for seen in super().watch(resource_version):
            yield seen
            if self.late is not None:
                yield self.late

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        answer = await super().patch_conditions(workload, conditions)
        if self.edits:
            self.edits = False
            self.edit(ports=(9,))
            await asyncio.sleep(1)  # the watch is faster than this answer
        return answer


async def test_what_comes_in_the_wrong_order_is_told_by_its_version() -> None:
    api = Overtaken()
    api.late = api.create(PLAIN)
    scene = Scene(api)
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(10)
        assert len(api.patches) == 1 and scene.fact.seen == api.workload and scene.fact.edited is None
        api.late, api.edits = None, True
        scene.board.goals.set(NO)
        await asyncio.sleep(0.9)
        assert scene.fact.seen == api.workload
        await asyncio.sleep(10)
        assert scene.fact.seen == api.workload


async def test_what_another_object_was_told_is_no_fall_of_this_one(scene: Scene) -> None:
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(10)
        scene.api.delete()
        scene.board.goals.set(NO)
        await asyncio.sleep(60)
        scene.api.create(PLAIN)
        await asyncio.sleep(60)
        assert scene.mesh == [("False", "ProbeFailing")] and scene.fact.fell_at == ()


async def test_reasons_that_change_again_and_again_are_written_once_a_minute(scene: Scene) -> None:
    scene.board.goals.set(NO)
    async with running(scene.loop.run()):
        for _ in range(20):
            for reason in (Reason.PROXY_STOPPED, Reason.PROXY_STARTING):
                scene.board.goals.set(Goals(advertise=Advertise.NO, reason=reason))
                await asyncio.sleep(15)
        assert 9 <= len(scene.api.patches) <= 12


async def test_a_reason_alone_is_written_when_it_lasts(scene: Scene) -> None:
    """On the way up a host passes through several; each write would cost the cluster a line of error."""
    scene.board.goals.set(NO)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        for reason in (Reason.PROXY_STOPPED, Reason.PROXY_STARTING, Reason.REDIRECT_BLOCKED):
            scene.board.goals.set(Goals(advertise=Advertise.NO, reason=reason))
            await asyncio.sleep(1)
        assert scene.mesh == [("False", "ProbeFailing")] and len(scene.api.patches) == 1
        await asyncio.sleep(5)
        assert scene.mesh == [("False", "RedirectBlocked")] and len(scene.api.patches) == 2
        scene.board.goals.set(YES)
        await asyncio.sleep(0.1)
        assert scene.mesh == [("True", "HostReady")], "a status that flips is written at once"


# the conditions beside Ready ----------------------------------------------------------------------


async def test_all_conditions_go_in_one_write_and_a_restart_writes_nothing(scene: Scene) -> None:
    scene.show(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(3600)
    assert len(scene.api.patches) == 1 and len(scene.api.patches[0]) == 7
    before, again = scene.api.workload, Scene(scene.api)
    async with running(again.loop.run()):
        await asyncio.sleep(30)  # everything is UNKNOWN at first
        again.show(YES)
        await asyncio.sleep(3600)
    assert scene.api.workload == before and len(scene.api.patches) == 1


async def test_ports_that_differ_are_one_quiet_write(scene: Scene) -> None:
    scene.show(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(60)
        scene.api.edit(ports=(9,))
        await asyncio.sleep(3600)
        assert scene.api.workload is not None and len(scene.api.patches) == 2
        found = {c.type: (c.status, c.reason) for c in scene.api.workload.conditions}
        assert found[PREFIX + "RedirectActive"] == ("True", "PortsMismatch") and found["Ready"][0] == "True"


async def test_a_recreated_workload_is_told_everything_anew(scene: Scene) -> None:
    scene.show(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(60)
        scene.api.delete()
        scene.api.create(PLAIN)
        await asyncio.sleep(60)
        assert scene.mesh == [("True", "HostReady")] and len(scene.api.patches[-1]) == 7
        assert len(scene.api.patches) == 2 and scene.fact.edited is None and scene.fact.fell_at == ()


async def test_falls_are_counted_and_leaving_is_none(scene: Scene) -> None:
    async with running(scene.loop.run()):
        for goals in (YES, NO, YES, Goals(advertise=Advertise.NO, reason=Reason.DRAINING)):
            scene.board.goals.set(goals)
            await asyncio.sleep(10)
        assert scene.fact.writes == 4 and len(scene.fact.fell_at) == 1


@pytest.mark.parametrize("hours", [-7, 7])
async def test_a_clock_that_jumps_changes_no_verdict(scene: Scene, hours: int) -> None:
    """The wall clock goes into lastTransitionTime, and nowhere else."""
    scene.show(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(60)
        scene.hour = 12 + hours
        await asyncio.sleep(3600)
        assert len(scene.api.patches) == 1
        scene.board.goals.set(NO)
        await asyncio.sleep(1)
        assert scene.mesh == [("False", "ProbeFailing")] and len(scene.api.patches) == 2
        assert scene.api.patches[-1][0].last_transition_time == f"2026-01-01T{12 + hours:02}:00:00Z"
