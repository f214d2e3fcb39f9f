"""What a loop under test publishes, and the clock that it is given."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from agent.loops.board import Board

T = TypeVar("T")


def recorded(field: str, facts: list[T]) -> Callable[[T], None]:
    """A setter of a board that adds to `facts` each value that changes the board."""
    board = Board()
    publish = board.setter(field)

    def record(fact: T) -> None:
        version = board.version
        publish(fact)
        if board.version != version:
            facts.append(fact)

    return record


class ShiftedClock:
    """The host's clock is `wall` seconds ahead of the loop's."""

    wall = 0.0

    def wall_now(self) -> float:
        return asyncio.get_running_loop().time() + self.wall
