"""The goals of the host: levels, not commands. The same goals twice change nothing."""

import enum

from agent.core.late import dataclass
from agent.core.reasons import Reason
from agent.core.slots import Slot


class ProxyGoal(enum.Enum):
    HOLD = "hold"  # start nothing, stop nothing
    RUNNING = "running"
    DRAINED = "drained"  # keeps running; what is in flight is counted down
    STOPPED = "stopped"


class RedirectGoal(enum.Enum):
    """The values but HOLD are those of `facts.Level`."""

    HOLD = "hold"
    OFF = "off"
    RELEASED = "released"
    BLOCK = "block"
    ON = "on"


class Advertise(enum.Enum):
    HOLD = "hold"  # leave the Ready condition as it is
    NO = "no"
    YES = "yes"


@dataclass(frozen=True)
class Goals:
    proxy: ProxyGoal = ProxyGoal.HOLD
    inbound: RedirectGoal = RedirectGoal.HOLD
    outbound: RedirectGoal = RedirectGoal.HOLD
    advertise: Advertise = Advertise.HOLD
    reason: Reason = Reason.STARTING  # the reason for advertise
    standby: ProxyGoal = ProxyGoal.HOLD  # of the second slot
    slot: Slot | None = None  # that the redirect is to name; None: as it is


@dataclass(frozen=True)
class Verdict:
    """`recheck_after`: seconds until time alone may change the goals; None if it cannot."""

    goals: Goals
    recheck_after: float | None = None
