"""The control plane loop: looks the control plane up and dials it, as the proxy does.

The proxy's answer (`ProxyFact.control`) is the proof. This loop finds out why there is none.
"""

import asyncio
from collections.abc import Callable

from agent.core import control_plane
from agent.core.facts import UNKNOWN, ControlPlaneFact, Facts, Level, ProxyState
from agent.loops.board import Board, Waiter
from agent.ports import ControlPlane

GRACE = 1.0  # seconds that a proxy has for its first answer before the first check
RECHECK = 5.0  # seconds between two checks while it has no answer
SELDOM = 60.0  # and while it has one
NAME = "ControlPlaneReached"


class ControlPlaneLoop:
    def __init__(
        self, control: ControlPlane, board: Board, publish: Callable[[ControlPlaneFact], None], *, outbound: bool
    ) -> None:
        """`outbound`: some outbound connections go through the proxy, so it needs the destination controller."""
        self._control, self._board, self._publish, self._outbound = control, board, publish, outbound

    async def run(self) -> None:
        waiter = Waiter(self._board.facts)
        while True:
            facts = self._board.facts.value
            if not _serves(facts):
                self._board.attempts.over(NAME)
                await waiter.wait()
                continue
            if not _answered(facts):
                await asyncio.sleep(GRACE)
            await self._look()
            await self._pause(waiter)

    async def _look(self) -> None:
        """While outbound is redirected, connections of this host go to its proxy, so they prove nothing."""
        redirect = self._board.facts.value.redirect
        dial = redirect is not UNKNOWN and redirect.outbound in (Level.OFF, Level.RELEASED)
        fact = await self._control.look(dial=dial)
        self._publish(fact if self._outbound else ControlPlaneFact(fact.policy))

    async def _pause(self, waiter: Waiter) -> None:
        """Return when the next check is due, or when the proxy gets or loses its answer."""
        was = _answered(self._board.facts.value)
        pause = SELDOM if was else RECHECK
        self._board.attempts.made(NAME, pause, failed=not was)
        try:
            async with asyncio.timeout(pause):
                while _answered(self._board.facts.value) is was and _serves(self._board.facts.value):
                    await waiter.wait()
        except TimeoutError:
            return


def _serves(facts: Facts) -> bool:
    return facts.proxy is not UNKNOWN and facts.proxy.state is ProxyState.READY and facts.proxy.control is not None


def _answered(facts: Facts) -> bool:
    lost = facts.proxy is not UNKNOWN and facts.proxy.control is not None and facts.proxy.control.lost
    return control_plane.proved(facts) is True and not lost
