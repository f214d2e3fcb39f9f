"""Fake interfaces. Held to the contract of tests/contract/test_interfaces.py."""

import asyncio
from collections.abc import Sequence

from agent.core.addresses import comparable
from agent.ports import Trouble


class MemoryInterfaces:
    """`trouble`: raised by each reading while it is set. `silent`: raised by each wait for a change."""

    def __init__(self, *addresses: str) -> None:
        self._here = list(addresses)
        self._news = asyncio.Event()
        self._news.set()
        self.trouble: Trouble | None = None
        self.silent: Trouble | None = None
        self.looks = 0

    def add(self, address: str) -> None:
        self._here.append(address)
        self._news.set()

    def remove(self, address: str) -> None:
        self._here.remove(address)
        self._news.set()

    async def absent(self, addresses: Sequence[str]) -> tuple[str, ...]:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        here = {comparable(one) for one in self._here}
        return tuple(one for one in addresses if comparable(one) not in here)

    async def changed(self) -> None:
        if self.silent is not None:
            raise self.silent
        await self._news.wait()
        self._news.clear()
