"""Replacing the proxy of a host that serves: drain, replace, verify, serve; roll back if that fails.

With two slots the standby serves in the meantime, and nothing is drained: it is started first, and the redirect
turns to it; if it is not proved in time it is stopped, and nothing was touched. Where the previous version
serves in the end, the standby is stopped, and one that is kept starts again with that version too. Where no
version became ready in time in the place of main, the standby serves on until main serves after all.

Invariants, each tested with the agent killed at every step (tests/loops/test_proxy_replacement.py):
- in LEAVING a running proxy is the old one, and the binaries are swapped only when no proxy runs;
- from STARTING on a running proxy is the new one, so only the stage needs a record;
- it ends in exactly one of DONE, BACK_AGAIN and FAILED, and in the first two the host serves as before;
- a failure is reported until it is over: a proxy becomes ready, or the host has left.
"""

import enum
from collections.abc import Mapping

from agent.core.late import dataclass, replace


class Stage(enum.Enum):
    PREPARING = "preparing"  # no standby runs, and its version is set
    COVERING = "covering"  # the standby must become ready, and the redirect name it
    LEAVING = "leaving"  # the host drains, and then the old one is stopped
    STARTING = "starting"  # the new one must become ready
    GOING_BACK = "going-back"  # it did not become ready, and is stopped
    RESTORING = "restoring"  # the previous one must become ready
    WITHDRAWING = "withdrawing"  # the previous one serves; the standby stops, and has its version again
    DONE = "done"
    BACK_AGAIN = "back-again"  # the previous one serves
    FAILED = "failed"  # neither became ready
    RENEWING = "renewing"  # main serves after all; the standby, which may be of the version that failed, stops
    CLEARED = "cleared"  # it had ended otherwise than wanted, and that is over


class News(enum.Enum):
    """What can happen to it."""

    COVERED = "the standby serves"
    NOT_COVERED = "it does not"
    STOPPED = "the proxy has stopped and the binaries are swapped"
    NOT_SWAPPED = "the binaries cannot be swapped"
    READY = "the proxy is ready"
    READY_BESIDE = "the proxy is ready, and there is a standby"
    NOT_READY = "it is not ready in time"
    OVER = "a proxy is ready after all, or the host has left"


TRANSITIONS: Mapping[tuple[Stage, News], Stage] = {
    (Stage.PREPARING, News.STOPPED): Stage.COVERING,
    (Stage.PREPARING, News.NOT_SWAPPED): Stage.WITHDRAWING,
    (Stage.COVERING, News.COVERED): Stage.LEAVING,
    (Stage.COVERING, News.NOT_COVERED): Stage.WITHDRAWING,
    (Stage.LEAVING, News.NOT_COVERED): Stage.WITHDRAWING,
    (Stage.LEAVING, News.STOPPED): Stage.STARTING,
    (Stage.LEAVING, News.NOT_SWAPPED): Stage.RESTORING,
    (Stage.STARTING, News.READY): Stage.DONE,
    (Stage.STARTING, News.NOT_READY): Stage.GOING_BACK,
    (Stage.GOING_BACK, News.STOPPED): Stage.RESTORING,
    (Stage.GOING_BACK, News.NOT_SWAPPED): Stage.FAILED,
    (Stage.GOING_BACK, News.READY_BESIDE): Stage.DONE,
    (Stage.RESTORING, News.READY): Stage.BACK_AGAIN,
    (Stage.RESTORING, News.READY_BESIDE): Stage.WITHDRAWING,
    (Stage.RESTORING, News.NOT_READY): Stage.FAILED,
    (Stage.WITHDRAWING, News.STOPPED): Stage.BACK_AGAIN,
    (Stage.WITHDRAWING, News.NOT_SWAPPED): Stage.BACK_AGAIN,
    (Stage.FAILED, News.OVER): Stage.CLEARED,
    (Stage.FAILED, News.READY_BESIDE): Stage.RENEWING,
    (Stage.RENEWING, News.STOPPED): Stage.CLEARED,
    (Stage.BACK_AGAIN, News.OVER): Stage.CLEARED,
}
_WITH_THE_WANTED = frozenset({Stage.PREPARING, Stage.COVERING, Stage.LEAVING, Stage.STARTING, Stage.DONE})
ENDS = frozenset({Stage.DONE, Stage.BACK_AGAIN, Stage.FAILED, Stage.RENEWING, Stage.CLEARED})
STOPPING = frozenset({Stage.LEAVING, Stage.GOING_BACK})
WITHOUT_A_STANDBY = frozenset({Stage.PREPARING, Stage.WITHDRAWING, Stage.RENEWING})  # it stops
# No decision depends on a record of these: without it the next agent comes to the same.
AFTERWARDS = frozenset({Stage.RENEWING, Stage.CLEARED})


class Illegal(Exception):
    """A transition that the table does not have: a bug."""


@dataclass(frozen=True)
class Replacement:
    """`wanted`, `previous`: versions; both "" if the same binary is only restarted. `detail`: why it did
    not work. `since`: when the stage began, on the loop's clock. `covered`: the standby serves in the meantime."""

    wanted: str
    previous: str
    stage: Stage = Stage.LEAVING
    detail: str = ""
    since: float = 0.0
    covered: bool = False

    @property
    def leaving(self) -> bool:
        """The standby is to serve, so that main can stop."""
        return self.covered and self.stage in STOPPING | {Stage.COVERING}

    @property
    def over(self) -> bool:
        return self.stage in ENDS

    @property
    def version(self) -> str:
        """Of the binary that belongs in this stage; "" if it is the same throughout."""
        return self.wanted if self.stage in _WITH_THE_WANTED else self.previous

    @property
    def way_back(self) -> bool:
        return self.wanted != self.previous


def after(change: Replacement, news: News, now: float, detail: str = "") -> Replacement:
    """Raises Illegal. Where there is no other binary to go back to, the first failure is the last."""
    stage = TRANSITIONS.get((change.stage, news))
    if stage is None:
        raise Illegal(f"{news} while {change.stage}")
    if stage is Stage.GOING_BACK and not change.way_back:
        stage = Stage.FAILED
    return replace(change, stage=stage, since=now, detail=detail or change.detail)


def remembered(change: Replacement, uptime: float, boot_id: str) -> dict[str, str | float | bool]:
    """`uptime`: seconds since that boot, at the beginning of the stage."""
    return {
        "wanted": change.wanted,
        "previous": change.previous,
        "stage": change.stage.value,
        "detail": change.detail,
        "covered": change.covered,
        "uptime": uptime,
        "boot_id": boot_id,
    }


def recalled(record: object, now: float, uptime: float, boot_id: str) -> Replacement | None:
    """None: it is no such record. `now` and `uptime` are the same moment."""
    match record:
        case {"wanted": str(wanted), "previous": str(previous), "stage": str(stage), "detail": str(detail)}:
            if stage in {known.value for known in Stage}:
                since = now - _age(record, uptime, boot_id)
                covered = isinstance(record, dict) and record.get("covered") is True
                return Replacement(wanted, previous, Stage(stage), detail, since, covered)
    return None


def _age(record: object, uptime: float, boot_id: str) -> float:
    """The age of its stage, in seconds. A boot resets it."""
    match record:
        case {"uptime": float(began), "boot_id": str(boot)} if boot == boot_id:
            return max(0.0, uptime - began)
    return 0.0
