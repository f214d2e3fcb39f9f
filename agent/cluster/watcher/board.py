"""What the watcher's loops share: the view of each scope, what is wrong with it, and the last decision."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from agent.core.reasons import Fault
from agent.core.watch.decision import Decision, Memory
from agent.core.watch.fleet import ALL, LeaseSeen, Name, View
from agent.core.watch.limits import Limits
from agent.watcher_ports import Found

Clock = Callable[[], float]


class Board:
    """`scopes`: namespaces, or ALL alone."""

    def __init__(self, scopes: Sequence[str], limits: Limits, clock: Clock) -> None:
        self.views = {scope: View() for scope in scopes}
        self.limits, self.clock = limits, clock
        self.decision = Decision(Memory())
        self.changed = asyncio.Event()
        self._faults: dict[str, Fault] = {}

    def update(self, scope: str, view: View) -> None:
        self.views[scope] = view
        self.changed.set()

    def live(self, name: Name, lease: LeaseSeen | None, found: Found | None, at: float) -> None:
        """One host was read live."""
        scope = self.scope(name)
        view = self.views[scope].with_lease(name, lease, at)
        self.update(scope, view.with_workload(name, None if found is None else found.seen))

    def scope(self, name: Name) -> str:
        return ALL if ALL in self.views else name[0]

    def stale(self) -> bool:
        """No scope can be judged."""
        return all(view.stale(self.clock(), self.limits) for view in self.views.values())

    def fault(self, what: str, fault: Fault | None) -> None:
        """Logs each fault once, until it is over or becomes another one."""
        before = self._faults.pop(what, None)
        if fault is not None:
            self._faults[what] = fault
        if (fault and fault.reason) == (before and before.reason):
            return
        log = structlog.get_logger().bind(about=what)
        if fault is None:
            log.info("recovered")
        else:
            log.warning(fault.entry.text, reason=fault.reason.value, detail=fault.detail, remedy=fault.way_out)

    @property
    def faults(self) -> dict[str, Fault]:
        return dict(self._faults)
