"""What the running proxy was started with, and its restart for new trust anchors, in virtual time."""

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest

from agent.core import anchors, restart_pending
from agent.core import facts as f
from agent.core.reasons import Reason
from agent.core.replacement import Replacement, Stage
from agent.loops.board import Board
from agent.loops.restart_pending import AGAIN, RestartPendingLoop
from agent.ports import Trouble
from tests.core import world
from tests.core.world import SPEC
from tests.loops.running import running

OLD, NEW = anchors.pem([b"old"]), anchors.pem([b"new"])
WANTED = {"LINKERD2_PROXY_CORES": "2", restart_pending.ANCHORS: NEW, "LINKERD2_PROXY_LOG": "info"}
RUNNING = {"LINKERD2_PROXY_CORES": "1", restart_pending.ANCHORS: OLD, "LINKERD2_PROXY_LOG": "debug", "HOME": "/"}
FIRST, SECOND = f.Process(1, 1, "b"), f.Process(2, 2, "b")
TURN = 100.0


def digest(pem: str) -> str:
    return anchors.digest(anchors.certificates(pem))


class Host:
    def __init__(self) -> None:
        self.board = Board()
        self.environment: Mapping[str, str | None] = RUNNING
        self.readable, self.writable = True, True
        self.unfit: Trouble | None = None
        self.reads = self.restarts = 0
        self.board.setter("replacement")(None)
        self.loop = RestartPendingLoop(
            self._read,
            lambda: WANTED,
            SPEC,
            self.board,
            self.board.setter("started_with"),
            self._restart,
        )

    async def _read(self) -> Mapping[str, str | None]:
        self.reads += 1
        if not self.readable:
            raise Trouble(Reason.PROXY_UNREADABLE, "it answers 403")
        return self.environment

    async def _restart(self) -> None:
        if self.unfit is not None:
            raise self.unfit
        if not self.writable:
            raise Trouble(Reason.PROXY_REPLACEMENT_FAILED, "no space")
        self.restarts += 1

    def tell(self, **facts: object) -> None:
        for name, fact in facts.items():
            self.board.setter(name)(fact)

    def serves(self, process: f.Process = FIRST, state: f.ProxyState = f.ProxyState.READY) -> None:
        self.tell(proxy=f.ProxyFact(state, process, certificate_expires_at=1e9))

    def remarks(self) -> set[Reason]:
        return {fault.reason for fault in restart_pending.remarks(self.board.facts.value)}


@pytest.fixture
def host() -> Host:
    made = Host()
    made.tell(
        identity=dataclasses.replace(_usable(), expires_at=1e9),
        anchors=f.AnchorsFact(digest(NEW), restart_at=TURN),
    )
    made.board.phase.set(f.Phase(f.PhaseKind.MEMBER, 0.0))
    made.serves()
    return made


def _usable() -> f.IdentityFact:
    found = world.identity("usable")
    assert found is not f.UNKNOWN
    return found


async def test_what_differs_is_named_until_another_runs(host: Host) -> None:
    async with running(host.loop.run()):
        await asyncio.sleep(1)
        assert host.remarks() == {Reason.RESTART_PENDING, Reason.TRUST_ANCHORS_PENDING}
        assert host.board.facts.value.started_with == f.StartedWith(FIRST, ("LINKERD2_PROXY_CORES",), digest(OLD))
        host.environment = WANTED
        host.serves(SECOND)
        await asyncio.sleep(1)
        assert host.remarks() == set() and host.reads == 2


async def test_one_that_forbids_it_is_asked_again_later(host: Host) -> None:
    host.readable = False
    async with running(host.loop.run()):
        await asyncio.sleep(AGAIN / 2)
        host.tell(slices=f.SlicesFact())  # news of no consequence
        await asyncio.sleep(1)
        assert host.reads == 1 and host.remarks() == set()
        host.readable = True
        await asyncio.sleep(AGAIN)
        assert host.reads == 2 and host.remarks()


async def test_new_anchors_restart_it_in_its_turn_and_once(host: Host) -> None:
    async with running(host.loop.run()):
        await asyncio.sleep(TURN - 1)
        assert host.restarts == 0
        await asyncio.sleep(2)
        assert host.restarts == 1
        host.serves(SECOND)  # it came back with the old ones
        await asyncio.sleep(3 * TURN)
        assert host.restarts == 1 and Reason.TRUST_ANCHORS_PENDING in host.remarks()


async def test_while_the_next_would_not_work_it_is_not_restarted_and_that_is_named(host: Host) -> None:
    host.unfit = Trouble(Reason.IDENTITY_UNTRUSTED, "the next one would not work", remedy="correct the anchors")
    async with running(host.loop.run()):
        await asyncio.sleep(TURN + 3 * AGAIN)
        assert host.restarts == 0
        [pending] = [
            r for r in restart_pending.remarks(host.board.facts.value) if r.reason is Reason.TRUST_ANCHORS_PENDING
        ]
        assert pending.detail.endswith("; not restarted: the next one would not work")
        assert pending.way_out == "correct the anchors"
        host.unfit = None
        await asyncio.sleep(2 * AGAIN)
        assert host.restarts == 1


async def test_settings_alone_wait_for_an_operator(host: Host) -> None:
    host.environment = {**RUNNING, restart_pending.ANCHORS: NEW}
    async with running(host.loop.run()):
        await asyncio.sleep(3 * TURN)
        assert host.restarts == 0 and host.remarks() == {Reason.RESTART_PENDING}


@pytest.mark.parametrize("why", ["phase", "proxy", "untrusted", "identity", "replacing", "disk"])
async def test_it_waits_while_the_next_might_not_come_up(host: Host, why: str) -> None:
    good = host.board.facts.value
    match why:
        case "phase":
            host.board.phase.set(f.Phase(f.PhaseKind.LEFT, 0.0))
        case "untrusted":
            host.tell(anchors=f.AnchorsFact(digest(NEW), restart_at=TURN, untrusted="leaf"))
        case "identity":
            host.tell(identity=f.UNKNOWN)
        case "replacing":
            host.tell(replacement=Replacement("2", "1", Stage.STARTING))
        case "disk":
            host.writable = False
    async with running(host.loop.run()):
        await asyncio.sleep(1)
        if why == "proxy":
            host.serves(state=f.ProxyState.NOT_READY)
        await asyncio.sleep(2 * TURN)
        assert host.restarts == 0
        host.board.phase.set(f.Phase(f.PhaseKind.MEMBER, 0.0))
        host.writable = True
        host.tell(anchors=good.anchors, identity=good.identity, proxy=good.proxy, replacement=None)
        await asyncio.sleep(2 * AGAIN)
        assert host.restarts == 1


def test_an_environment_without_anchors_says_nothing_of_them() -> None:
    assert restart_pending.digest({}) == restart_pending.digest({restart_pending.ANCHORS: "nonsense"}) == ""
    assert restart_pending.differing({"LINKERD2_PROXY_X": "1"}, {"OTEL": "2"}) == ("LINKERD2_PROXY_X", "OTEL")
