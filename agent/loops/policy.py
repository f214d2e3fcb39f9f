"""The decision loop: facts and phase → goals, at each change and when time alone may change them."""

import asyncio
from collections.abc import Callable

from agent.core import policy
from agent.core.facts import UNKNOWN, AgentFact, Maybe, ProxyFact, ProxyState
from agent.core.health import Spec
from agent.loops.board import Board, Waiter

# The watchdog and the Lease depend on this: it runs at least this often, in seconds, even without a change.
BEAT = 5.0


class PolicyLoop:
    def __init__(self, spec: Spec, board: Board, publish: Callable[[AgentFact], None]) -> None:
        self._spec, self._board, self._publish = spec, board, publish

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.phase)
        while True:
            after = self._decide(asyncio.get_running_loop().time())
            await waiter.wait(BEAT if after is None else min(BEAT, after))

    def _decide(self, now: float) -> float | None:
        board = self._board
        if board.facts.value.ready_at is None and board.facts.value.all_known_but_probes():
            self._publish(AgentFact(ready_at=now))
        verdict = policy.decide(self._spec, board.phase.value, board.facts.value, now)
        board.goals.set(verdict.goals)
        board.decided_at = now
        board.judged_at = _judged_at(board.facts.value.proxy)
        return verdict.recheck_after


def _judged_at(proxy: Maybe[ProxyFact]) -> float | None:
    return None if proxy is UNKNOWN or proxy.state is ProxyState.READY else proxy.read_at
