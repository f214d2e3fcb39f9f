"""The restart-pending loop: reads once with what the proxy was started, and restarts it for new trust anchors.

New anchors are in force only after root accepts them. Each host drains and restarts at a different time
(`AnchorsFact.restart_at`). Other settings that need a restart wait for an operator.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from agent.core import restart_pending
from agent.core.facts import UNKNOWN, PhaseKind, Process, ProxyState, StartedWith
from agent.core.health import Spec
from agent.core.reasons import Fault
from agent.loops.board import Board, Waiter
from agent.ports import Trouble

AGAIN = 30.0  # seconds between two tries to read it


class RestartPendingLoop:
    """`read`: the environment of the running proxy; raises Trouble. `wanted`: that of the next one, without trust
    anchors. `restart`: begins a replacement with the same version; raises Trouble, for example if the next start
    would fail."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Mapping[str, str | None]]],
        wanted: Callable[[], Mapping[str, str]],
        spec: Spec,
        board: Board,
        publish: Callable[[StartedWith], None],
        restart: Callable[[], Awaitable[object]],
    ) -> None:
        self._read, self._wanted, self._spec, self._board = read, wanted, spec, board
        self._publish, self._restart = publish, restart
        self._not_before = 0.0  # on the loop's clock
        self._restarted_for = ""  # once for each set of anchors: a second restart would not help

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.phase)
        while True:
            rests = [rest for rest in (await self._look(), await self._turn()) if rest is not None]
            await waiter.wait(min(rests, default=None))

    async def _look(self) -> float | None:
        """Seconds until the next attempt; None: there is nothing to read, or it is known."""
        process = self._unread()
        if process is None:
            return None
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            return self._not_before - now
        try:
            running = await self._read()
        except Trouble:  # a policy may forbid it
            self._not_before = now + AGAIN
            return AGAIN
        if self._unread() == process:
            differing = restart_pending.differing(running, self._wanted())
            self._publish(StartedWith(process, differing, restart_pending.digest(running)))
        return None

    def _unread(self) -> Process | None:
        facts = self._board.facts.value
        proxy = facts.proxy
        if proxy is UNKNOWN or proxy.state is not ProxyState.READY:
            return None
        known = facts.started_with
        return None if known is not UNKNOWN and known.process == proxy.process else proxy.process

    async def _turn(self) -> float | None:
        """Seconds until the restart; None: none is due."""
        facts, now = self._board.facts.value, asyncio.get_running_loop().time()
        due, phase = restart_pending.restart_at(self._spec, facts, now), self._board.phase.value
        if due is None or phase is UNKNOWN or phase.kind not in (PhaseKind.MEMBER, PhaseKind.DRAINED):
            return None
        assert facts.anchors is not UNKNOWN
        if facts.replacement is UNKNOWN or facts.replacing or facts.anchors.in_force == self._restarted_for:
            return None
        if now < due:
            return due - now
        try:
            await self._restart()
        except Trouble as trouble:
            self._tell(trouble.fault)
            return AGAIN
        self._tell(None)
        self._restarted_for = facts.anchors.in_force
        return None

    def _tell(self, refused: Fault | None) -> None:
        """Record why it is not restarted although the restart is due."""
        started = self._board.facts.value.started_with
        if started is not UNKNOWN and started.refused != refused:
            self._publish(dataclasses.replace(started, refused=refused))
