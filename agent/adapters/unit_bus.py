"""One unit of systemd, followed over D-Bus: what it is now, and when that may have changed.

Every user of the system bus may read this; it controls nothing. Each watch is a separate connection, opened for
one question and closed after it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from jeepney import MatchRule, Message, MessageType
from jeepney.auth import AuthenticationError

from agent.adapters.system_bus import SYSTEM_BUS, BusError, Connection, connected

T = TypeVar("T")

WITHIN = 3.0  # seconds for one answer


@dataclass(frozen=True)
class UnitState:
    """`main_pid`: 0 where none runs. `code`, `status`: how the last main process ended, CLD_… and its number."""

    active: str  # ActiveState
    sub: str  # SubState
    main_pid: int
    exec_main_pid: int
    code: int
    status: int
    result: str


class UnitWatch:
    """For one task alone. Raises BusError."""

    def __init__(self) -> None:
        self._news = False

    async def open(self, unit: str, bus: Connection) -> None:
        self._bus = bus
        await bus.hello()
        self._path = await bus.load(unit)
        await bus.subscribe(MatchRule(type="signal", member="PropertiesChanged", path=self._path))

    async def state(self) -> UnitState:
        self._news = False
        unit = [await self._property("Unit", name) for name in ("ActiveState", "SubState")]
        names = ("MainPID", "ExecMainPID", "ExecMainCode", "ExecMainStatus", "Result")
        return UnitState(*unit, *[await self._property("Service", name) for name in names])

    async def changed(self) -> None:
        """Return when the unit may have changed since the last state."""
        while not self._news:
            await self._bus.hear()

    def note(self, message: Message) -> None:
        self._news = self._news or message.header.message_type is MessageType.signal

    async def _property(self, kind: str, name: str) -> Any:
        return await _in_time(self._bus.unit_property(self._path, kind, name))


async def _in_time(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(WITHIN):
            return await answer
    except TimeoutError:
        raise BusError("no answer") from None


@asynccontextmanager
async def watching(unit: str, path: str = SYSTEM_BUS) -> AsyncIterator[UnitWatch]:
    """Raises BusError, from the body too."""
    watch = UnitWatch()
    try:
        async with connected(path, watch.note) as bus:
            await _in_time(watch.open(unit, bus))
            yield watch
    except TimeoutError:  # an OSError, and the body's own
        raise
    except (OSError, AuthenticationError) as error:
        raise BusError(f"{path}: {error}") from None
