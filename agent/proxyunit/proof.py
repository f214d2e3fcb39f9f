"""Waits until a process of the proxy is proved ready; both ways to set the redirect after a start ask here."""

import os
import select
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from agent.core import prepared as forms
from agent.core import procfs
from agent.core.facts import Maybe
from agent.core.late import dataclass
from agent.core.prepared import Plan
from agent.core.proxy import ADMIN_PORT
from agent.core.redirect import Address
from agent.core.slots import Slot, places
from agent.privileged import Refusal
from agent.privileged.proxy import readiness
from agent.privileged.system import deadline, listeners
from agent.privileged.system.listeners import Redirected
from agent.proxyunit import prepared

# Seconds between two looks: a tenth of the time so far, which adds little to any wait.
_SOONEST, _LATEST = 0.01, 1.0
# Seconds that the policy controller has after the proxy is ready.
ANSWER_WITHIN = 10.0
READY_WITHIN = 3600.0
WITHIN = 12.0  # for one request: until a helper that holds the lock has ended, and its own time


@dataclass(frozen=True)
class Planned:
    """A plan as what is redirected."""

    proxy_uid: int
    arrivals: frozenset[tuple[Address, int]]


def of(plan: Plan) -> Planned:
    return Planned(plan.uid, frozenset((ip_address(address), port) for address, port in plan.arrivals))


def of_standby(plan: Plan) -> Planned:
    return Planned(plan.uid, frozenset((ip_address(address), port) for address, port in plan.standby))


def stands_by(plan: Plan) -> bool:
    """The proxy of the second slot is proved ready."""
    return bool(plan.standby) and _answered(of_standby(plan), admin=places()[Slot.STANDBY].admin_port) is not None


def ready(pid: int, wanted: Redirected) -> bool:
    """Once it is; False: the process is gone, or the time is over. A start that waits for an identity has more."""
    return _wait(pid, lambda: _answered(wanted) is not None, READY_WITHIN)


def answered(pid: int, wanted: Redirected, controller: str, within: float = ANSWER_WITHIN) -> bool:
    """The policy controller has answered it by then."""
    return _wait(pid, lambda: _answered(wanted, controller) is True, within)


def listens(wanted: Redirected) -> bool:
    """Where redirected connections arrive, the proxy's user listens and no other."""
    try:
        listeners.must_be_the_proxys(wanted)
    except Refusal:
        return False
    return True


def _answered(wanted: Redirected, controller: str = "", admin: int = ADMIN_PORT) -> Maybe[bool] | None:
    """Whether the policy controller has answered; None: the proxy is not proved ready."""
    try:
        with deadline.whole(WITHIN):
            return readiness.must_hold(wanted, readiness.ask(admin), controller)
    except (Refusal, deadline.Late):
        return None


def _wait(pid: int, holds: Callable[[], bool], within: float) -> bool:
    """For as long; False when the process is gone. systemd waits for this program also after that."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    began = time.monotonic()
    try:
        while not holds():
            passed = time.monotonic() - began
            pause = min(max(passed / 10, _SOONEST), _LATEST)
            if passed > within and _is_starting(pid):
                began = time.monotonic()
            elif passed > within or select.select([process], [], [], pause)[0]:
                return False
        return not select.select([process], [], [], 0)[0]
    finally:
        os.close(process)


def _is_starting(pid: int) -> bool:
    try:
        return procfs.stat(Path(f"/proc/{pid}/stat").read_text(errors="replace")).name == forms.STARTING
    except (OSError, IndexError):
        return False


def record(prefix: str, pid: int, at: float) -> None:
    """The redirect is ON for this process, which was proved ready at that time (CLOCK_MONOTONIC)."""
    try:
        ticks = procfs.stat(Path(f"/proc/{pid}/stat").read_text(errors="replace")).start_ticks
    except (OSError, IndexError):
        return  # it has ended; the next end has its own hook
    prepared.record(prefix, forms.ARMED, forms.armed(pid, ticks, at))
