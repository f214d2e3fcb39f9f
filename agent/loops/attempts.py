"""The attempts of the loops. They are not facts on the board: a change wakes no loop and affects no decision."""

import asyncio

from agent.core.attempts import LastAttempt


class Attempts:
    """By the line of the status that shows them: a condition's type, or a probe's name."""

    def __init__(self) -> None:
        self.seen: dict[str, LastAttempt] = {}

    def made(self, name: str, pause: float | None = None, *, failed: bool = False) -> None:
        """One has just been made, and the next follows after `pause` seconds."""
        now = asyncio.get_running_loop().time()
        self.seen[name] = LastAttempt(now, None if pause is None else now + pause, failed)

    def over(self, name: str) -> None:
        """No attempt is due."""
        self.seen.pop(name, None)
