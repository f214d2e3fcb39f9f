"""An hour in which nothing changes: which requests, programs and readings it takes. See tests/budgets.py."""

import asyncio

from agent.core import facts as f
from agent.core.goals import ProxyGoal
from agent.loops.board import Board
from agent.loops.folders import FoldersLoop
from agent.loops.policy import PolicyLoop
from agent.loops.prepared import PreparedLoop
from agent.loops.proxy import ProxyLoop
from agent.loops.redirect import RedirectLoop
from agent.ports import LiveRedirect
from tests import budgets
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.fakes.proxy_runtime import PROCESS, UID, MemoryHost, MemoryProxyRuntime
from tests.fakes.redirector import MemoryRedirector
from tests.loops.running import running
from tests.loops.virtual_hour import HOUR, an_hour


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    async def look(self) -> None:
        self.calls += 1

    async def lost(self) -> str:
        self.calls += 1
        return ""


class CountedPolicy(PolicyLoop):
    decisions = 0

    def _decide(self, now: float) -> float | None:
        self.decisions += 1
        return super()._decide(now)


def served(board: Board, now: float) -> None:
    far = now + 1e6
    identity = f.IdentityFact(f.Svid(SPEC.identity, "", 0, 0), far)
    board.facts.set(serving(identity=identity, agent=f.AgentFact(now), lease=f.LeaseFact("")))
    board.phase.set(f.Phase(f.PhaseKind.MEMBER, now))


async def test_what_an_idle_hour_takes() -> None:
    board, now = Board(), asyncio.get_running_loop().time()
    served(board, now)
    kernel = MemoryRedirector(LiveRedirect(f.Level.ON, f.Level.ON))
    kernel.watched = True
    runtime, folders, files = MemoryProxyRuntime(MemoryHost(PROCESS)), Counted(), Counted()
    policy = CountedPolicy(SPEC, board, board.setter("agent"))
    async with running(
        policy.run(),
        ProxyLoop(runtime, board, board.setter("proxy"), UID, lambda: 0.0, lambda: 0.0, 60.0).run(),
        RedirectLoop(kernel, board, board.setter("redirect"), lambda: 0.0).run(),
        FoldersLoop(folders.look, board.setter("folders"), None).run(),
        PreparedLoop(files.lost, kernel.check, board, board.setter("prepared"), lambda: 0.0).run(),
    ):
        await asyncio.sleep(HOUR)
        assert board.goals.value.proxy is ProxyGoal.RUNNING
    requests = len(kernel.calls) + kernel.firewalls + 1  # and the watch
    budgets.IDLE_REQUESTS.check(requests, "requests to the privileged helper")
    budgets.IDLE_READINGS.check(len(runtime.called("inspect")), "readings of the proxy")
    budgets.IDLE_DECISIONS.check(policy.decisions, "decisions")
    budgets.IDLE_LOOKS_AT_FOLDERS.check(folders.calls, "looks at the folders")
    budgets.IDLE_LOOKS_AT_PREPARED.check(files.calls, "looks at what is prepared")
    assert files.calls >= 360, "it is looked at soon"
    assert kernel.calls and set(kernel.calls) == {"check"}
    assert {name for _, name in runtime.calls} == {"adopt", "inspect"}, "no program is started"


async def test_and_what_it_writes() -> None:
    api = await an_hour(None)
    budgets.IDLE_WRITES.check(len(api.patches), "writes of the status")
