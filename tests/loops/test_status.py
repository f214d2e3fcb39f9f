import asyncio
from collections.abc import Callable

import pytest

from agent.core.facts import AgentFact, Condition, Workload, WorkloadFact
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.status import StatusLoop
from agent.ports import Trouble
from tests.fakes.status_api import MemoryStatusApi
from tests.loops.running import running

YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)
PLAIN = Workload("", "", "spiffe://td/db", "db.sni", ("10.9.0.2",), (8080,))


class Scene:
    def __init__(self) -> None:
        self.api, self.board = MemoryStatusApi(), Board()
        self.api.create(PLAIN)
        publish: Callable[[WorkloadFact], None] = self.board.setter("workload")
        self.loop = StatusLoop(self.api, self.board, publish, lambda: "2026-01-01T00:00:00Z", lambda: 0.0)

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
        scene.board.setter("agent")(AgentFact(7.0))  # facts move on, Ready does not
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


async def test_anothers_edit_is_corrected(scene: Scene) -> None:
    scene.board.goals.set(YES)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        scene.api.edit(conditions=(Condition("Ready", "Unknown", "HostUnreachable"),))
        await asyncio.sleep(1)
        assert scene.mesh == [("True", "HostReady")] and len(scene.api.patches) == 2


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
