"""The board: holds the current facts, phase and goals.

Latest-value cells, not queues: a slow reader sees the current value, not a backlog.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from agent.core.facts import UNKNOWN, Facts, Maybe, Phase
from agent.core.goals import Goals
from agent.core.tallies import Tallies
from agent.loops.attempts import Attempts

T = TypeVar("T")

# The decision loop runs at least every 5 s; without a run for this long, in seconds, it counts as dead.
ALIVE_WITHIN = 15.0


class Cell(Generic[T]):
    """A value, and an event for each reader that is set when the value changes."""

    def __init__(self, value: T) -> None:
        self.value = value
        self.version = 0
        self.bells: list[asyncio.Event] = []

    def set(self, value: T) -> None:
        """An equal value is no change, but it replaces the other: what is not compared may be newer."""
        changed = value != self.value
        self.value = value
        if changed:
            self.version += 1
            for bell in self.bells:
                bell.set()


class Waiter:
    """One reader of one or more cells. A reader that ends before the board must `close`."""

    def __init__(self, *cells: Cell[Any]) -> None:
        self._cells = cells
        self._bell = asyncio.Event()
        self._bell.set()
        for cell in cells:
            cell.bells.append(self._bell)

    def close(self) -> None:
        for cell in self._cells:
            cell.bells.remove(self._bell)

    async def wait(self, timeout: float | None = None) -> bool:
        """Return True when a cell has changed since the last call (the first call never waits); False when
        `timeout` seconds have passed first."""
        try:
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True


class Board:
    """`tallies`: of this process, which may have had other boards."""

    def __init__(self, tallies: Tallies | None = None) -> None:
        self.facts: Cell[Facts] = Cell(Facts())
        self.phase: Cell[Maybe[Phase]] = Cell(UNKNOWN)
        self.goals: Cell[Goals] = Cell(Goals())
        self.attempts = Attempts(tallies)
        self.decided_at: float | None = None  # the heartbeat of the decision loop
        # When the reading of the proxy began by which the goals are what they are; None: ready, or unknown.
        self.judged_at: float | None = None

    @property
    def version(self) -> int:
        """Increases with every change of facts, phase or goals."""
        return self.facts.version + self.phase.version + self.goals.version

    async def changed(self, version: int, seconds: float) -> None:
        """Return once the version is past `version`, or after `seconds`."""
        waiter = Waiter(self.facts, self.phase, self.goals)
        try:
            async with asyncio.timeout(seconds):
                while self.version == version:
                    await waiter.wait()
        except TimeoutError:
            return
        finally:
            waiter.close()

    def setter(self, field: str) -> Callable[[Any], None]:
        """The setter of one fact, for its only writer, which need not compare: an equal value is no change."""
        assert field in {f.name for f in dataclasses.fields(Facts)}, field

        def publish(value: Any) -> None:
            self.facts.set(dataclasses.replace(self.facts.value, **{field: value}))

        return publish

    def alive(self, now: float, within: float) -> bool:
        """The decision loop has decided within the last `within` seconds."""
        return self.decided_at is not None and now - self.decided_at <= within
