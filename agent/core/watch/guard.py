"""The mass-failure guard: at which pace hosts of a zone may be taken out.

Hosts that are late count with those that are silent: renewals are spread over a period, so when the first host of
a failed network is silent the others are late, and the guard sees the whole failure before the first verdict. A
host is evidence of a working network only if it was heard after the last of these fell silent: one that renews
once a minute, or that announced a stop, is not late yet and says nothing.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.watch.fleet import Host, Standing
from agent.core.watch.limits import Limits

LATE = (Standing.LATE, Standing.SILENT)
HEARD = (Standing.WELL, Standing.PLANNED)


class Pace(enum.Enum):
    NORMAL = "normal"
    SLOW = "slow"  # most of the zone is silent: one host at a time
    HELD = "held"  # every zone is silent: none


@dataclass(frozen=True)
class Count:
    """Of one zone. `late`: late or silent."""

    well: int = 0
    late: int = 0
    silent: int = 0

    @property
    def share(self) -> float:
        return self.late / (self.well + self.late) if self.late else 0.0

    @property
    def gone(self) -> bool:
        """All of it."""
        return self.late > 0 and self.well == 0


def counts(hosts: Sequence[Host]) -> dict[str, Count]:
    """Zones without a host that counts are left out."""
    last = max((host.since for host in hosts if host.standing in LATE), default=-math.inf)
    found: dict[str, list[int]] = {}
    for host in hosts:
        late = host.standing in LATE
        if late or (host.standing in HEARD and host.since > last):
            numbers = found.setdefault(host.zone, [0, 0, 0])
            numbers[late] += 1
            numbers[2] += host.standing is Standing.SILENT
    return {zone: Count(*numbers) for zone, numbers in found.items()}


def paces(zones: Mapping[str, Count], before: Mapping[str, Pace], limits: Limits) -> dict[str, Pace]:
    """`before`: those of the last decision, because the guard leaves a zone later than it enters."""
    late = sum(count.late for count in zones.values())
    if late >= limits.guard_from and all(count.gone for count in zones.values()):
        return dict.fromkeys(zones, Pace.HELD)
    most = {zone for zone, count in zones.items() if _most(count, before.get(zone, Pace.NORMAL), limits)}
    return {zone: _pace(zone, count, most, limits) for zone, count in zones.items()}


def _most(count: Count, before: Pace, limits: Limits) -> bool:
    """Most of the zone fails."""
    return count.share >= (limits.guard_enters if before is Pace.NORMAL else limits.guard_leaves)


def _pace(zone: str, count: Count, most: set[str], limits: Limits) -> Pace:
    """A zone that is gone while no other one fails is a failure of that zone: its traffic has to leave it."""
    alone = count.gone and most <= {zone}
    return Pace.SLOW if zone in most and count.late >= limits.guard_from and not alone else Pace.NORMAL
