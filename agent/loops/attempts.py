"""The attempts of the loops, beside the board: no fact, so one that moves wakes nobody and decides nothing."""

import asyncio

from agent.core.attempts import LastAttempt


class Attempts:
    """By the line of the status that shows them: a condition's type, or a probe's."""

    def __init__(self) -> None:
        self.seen: dict[str, LastAttempt] = {}

    def made(self, name: str, pause: float | None = None, *, failed: bool = False) -> None:
        """One has just been made, and the next follows after `pause` seconds."""
        now = asyncio.get_running_loop().time()
        self.seen[name] = LastAttempt(now, None if pause is None else now + pause, failed)

    def over(self, name: str) -> None:
        """There is nothing to try again."""
        self.seen.pop(name, None)
