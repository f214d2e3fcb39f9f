"""The addresses loop: reports which of the addresses that peers dial this host does not have.

The kernel reports added and removed addresses; slow polling finds what it does not report. A failed reading
changes nothing.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from agent.core.facts import UNKNOWN, AddressesFact
from agent.loops.attempts import Attempts
from agent.ports import Interfaces, Trouble

RECHECK = 60.0  # seconds between two polls
PACE = 0.5  # seconds between two readings after events of the kernel
# A DHCP client or a network manager that restarts may remove an address and add it again.
GONE_FOR = 3.0  # seconds


class AddressesLoop:
    def __init__(
        self,
        interfaces: Interfaces,
        addresses: Sequence[str],
        publish: Callable[[AddressesFact], None],
        attempts: Attempts | None = None,
    ) -> None:
        self._interfaces, self._addresses, self._publish = interfaces, addresses, publish
        self._fact = AddressesFact()
        self._attempts = attempts or Attempts()

    async def run(self) -> None:
        while True:
            await self._look()
            await self._until_changed()

    async def _look(self) -> None:
        try:
            fact = AddressesFact(await self._absent())
        except Trouble as trouble:
            fact = dataclasses.replace(self._fact, fault=trouble.fault)
        self._attempts.made("AddressesPresent", RECHECK, failed=fact.fault is not None)
        self._fact = fact
        self._publish(fact)

    async def _absent(self) -> tuple[str, ...]:
        before, absent = self._fact.absent, await self._interfaces.absent(self._addresses)
        if before is not UNKNOWN and set(absent) - set(before):
            await asyncio.sleep(GONE_FOR)
            absent = await self._interfaces.absent(self._addresses)
        return absent

    async def _until_changed(self) -> None:
        try:
            async with asyncio.timeout(RECHECK):
                await self._interfaces.changed()
                await asyncio.sleep(PACE)
        except TimeoutError:
            return
        except Trouble:
            await asyncio.sleep(RECHECK)
