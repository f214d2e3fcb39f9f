"""The attempts of the loops. They are not facts on the board: a change wakes no loop and affects no decision."""

import asyncio

from agent.core.attempts import LastAttempt
from agent.core.tallies import Tallies


class Attempts:
    """By the line of the status that shows them: a condition's type, or a probe's name."""

    def __init__(self, tallies: Tallies | None = None) -> None:
        self.seen: dict[str, LastAttempt] = {}
        self.tallies = tallies or Tallies()

    def made(self, name: str, pause: float | None = None, *, failed: bool = False) -> None:
        """One has just been made, and the next follows after `pause` seconds."""
        self.tallies.attempts[name, failed] += 1
        now = asyncio.get_running_loop().time()
        self.seen[name] = LastAttempt(now, None if pause is None else now + pause, failed)

    def over(self, name: str) -> None:
        """No attempt is due."""
        self.seen.pop(name, None)
