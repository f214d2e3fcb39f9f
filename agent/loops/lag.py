"""The lag loop: how late the event loop wakes up. A loop that is held up answers no request in time."""

import asyncio

from agent.core.tallies import Tallies

EVERY = 10.0  # seconds


class LagLoop:
    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            self._tallies.lag.add(max(0.0, loop.time() - due))
