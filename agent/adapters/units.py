"""The states of systemd's units, read once over D-Bus. Every user of the system bus may read them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jeepney import Message
from jeepney.auth import AuthenticationError

from agent.adapters.system_bus import SYSTEM_BUS, BusError, Connection, connected

_WITHIN: Final = 3.0  # seconds for all of them


@dataclass(frozen=True)
class UnitNow:
    """`loaded`: LoadState ("loaded", "not-found", "masked"). `since`: of `active`, in seconds since the epoch; 0:
    never."""

    loaded: str
    active: str
    sub: str
    since: float


async def now(units: Sequence[str], path: str = SYSTEM_BUS) -> Mapping[str, UnitNow]:
    """Raises BusError."""
    try:
        async with asyncio.timeout(_WITHIN), connected(path, _ignore) as bus:
            await bus.hello()
            return {unit: await _now(bus, unit) for unit in units}
    except TimeoutError:
        raise BusError("no answer") from None
    except (OSError, AuthenticationError) as error:
        raise BusError(f"{path}: {error}") from None


async def _now(bus: Connection, unit: str) -> UnitNow:
    place = await bus.load(unit)
    names = ("LoadState", "ActiveState", "SubState", "StateChangeTimestamp")
    loaded, active, sub, changed = [await bus.unit_property(place, "Unit", name) for name in names]
    return UnitNow(str(loaded), str(active), str(sub), int(changed) / 1e6)


def _ignore(message: Message) -> None:
    """No signal was asked for."""
