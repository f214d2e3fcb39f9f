"""A fake kernel. Held to the contract of tests/contract/test_redirector.py."""

import asyncio
from dataclasses import replace

from agent.core.facts import Level
from agent.core.goals import RedirectGoal
from agent.core.reasons import Fault, Reason
from agent.core.redirect import settle
from agent.core.slots import Slot
from agent.ports import LiveRedirect, Trouble

OFF = LiveRedirect(Level.OFF, Level.OFF)


class MemoryRedirector:
    """`live`: what the kernel holds; set it to make drift. `trouble`: raised by each call while it is set.
    `hang`: calls do not answer. `slow`: seconds that each call takes which sets rules. `calls`: "check", or the
    levels that were asked for."""

    def __init__(self, live: LiveRedirect = OFF) -> None:
        self.live = live
        self.trouble: Trouble | None = None
        self.unready: Trouble | None = None  # raised by each turn while it is set
        self.hang = False
        self.slow = 0.0
        self.edited = ""  # what of the configuration is not in force
        self.suspended = ""  # why ON is not set again
        self.unreported = ""  # which changes the kernel does not report
        self.wall: Fault | Trouble | None = None  # what the host's own firewall does
        self.deaf = False  # rules are set, and another program removes them at once
        self.armed_at = float("-inf")  # when a process of the proxy was proved ready, and ON was set for it
        self.calls: list[str] = []
        self.changed = asyncio.Event()  # set it: another program has changed the rules, and the kernel reports it
        self.watched = False  # True: the kernel reports changes
        self.asked_for_drift = 0
        self.firewalls = 0  # times that the firewall was asked for

    async def check(self) -> LiveRedirect:
        await self._call("check")
        return replace(self.live, edited=self.edited, suspended=self.suspended, unreported=self.unreported)

    async def apply(
        self, inbound: RedirectGoal, outbound: RedirectGoal, judged: float | None = None
    ) -> LiveRedirect:
        await self._call(f"{inbound.value}/{outbound.value}")
        if judged is not None and judged < self.armed_at:
            return replace(self.live, edited=self.edited, suspended=self.suspended, superseded=True)
        if not self.deaf:
            levels = settle(Level(inbound.value), Level(outbound.value))
            self.live = LiveRedirect(*levels, slot=self.live.slot)
        return replace(self.live, edited=self.edited, suspended=self.suspended, unreported=self.unreported)

    async def turn(self, slot: Slot) -> LiveRedirect:
        await self._call(f"turn {slot.value}")
        if self.unready is not None:
            raise self.unready
        self.live = replace(self.live, slot=slot)
        return replace(self.live, edited=self.edited, suspended=self.suspended, unreported=self.unreported)

    async def firewall(self) -> Fault | None:
        self.firewalls += 1
        if self.trouble is not None:
            raise self.trouble
        if isinstance(self.wall, Trouble):
            raise self.wall
        return self.wall

    async def drifted(self) -> None:
        self.asked_for_drift += 1
        if not self.watched:
            raise Trouble(Reason.REDIRECT_FORBIDDEN, "no watch")
        if self.asked_for_drift > 1:
            await self.changed.wait()
            self.changed.clear()

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.hang:
            await asyncio.Event().wait()
        if name != "check":
            await asyncio.sleep(self.slow)
        if self.trouble is not None:
            raise self.trouble
