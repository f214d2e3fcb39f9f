"""A StatusApi in memory, for tests of the loops in virtual time. The contract suite runs on it too."""

import asyncio
import dataclasses
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.ports import Lease, Trouble
from agent.sandbox.api.schema import CONDITION_REASON

FIRST_VERSION = 100


class MemoryStatusApi:
    """`troubles`: by method's name, raised until taken out (a `watch` that is open ends with it at
    `trouble_watches`). `calls`: by method's name. `patches`: every conditions array that was taken."""

    def __init__(self) -> None:
        self.workload: Workload | None = None
        self.lease: Lease | None = None
        self.troubles: dict[str, Trouble] = {}
        self.calls: Counter[str] = Counter()
        self.patches: list[tuple[Condition, ...]] = []
        self._version = self._oldest = FIRST_VERSION
        self._objects = 0
        self._history: list[tuple[int, Workload | None]] = []
        self._news = asyncio.Event()
        self._era = 0  # the watches of an earlier one are over

    # what others do -----------------------------------------------------------------------------

    def create(self, workload: Workload) -> Workload:
        """With a uid of its own and a fresh version, whatever `workload` contains."""
        self._objects += 1
        return self._put(dataclasses.replace(workload, uid=f"uid-{self._objects}"))

    def edit(self, **changes: Any) -> Workload:
        """Another client changes fields of the workload."""
        assert self.workload is not None
        return self._put(dataclasses.replace(self.workload, **changes))

    def delete(self) -> None:
        self._version += 1
        self._remember(None)

    def end_watches(self) -> None:
        """The server ends every open watch without an error."""
        self._era += 1
        self._tell()

    def trouble_watches(self, trouble: Trouble) -> None:
        """Every open watch breaks, and so does each new one."""
        self.troubles["watch"] = trouble
        self._tell()

    def forget(self) -> None:
        """A watch from a version before now ends at once (410)."""
        self._history.clear()
        self._oldest = self._version

    # the port -----------------------------------------------------------------------------------

    async def read(self) -> Workload:
        self._enter("read")
        return self._there()

    async def watch(self, resource_version: str) -> AsyncGenerator[Workload | None, None]:
        self._enter("watch")
        version, era = int(resource_version or self._version), self._era
        if version < self._oldest:
            return
        if not resource_version and self.workload is not None:
            yield self.workload
        while era == self._era:
            self._trouble("watch")
            news = self._news
            for number, seen in [entry for entry in self._history if entry[0] > version]:
                yield seen
                version = number
            if news is self._news:
                await news.wait()

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        self._enter("patch_conditions")
        there = self._there()
        if workload.resource_version != there.resource_version:
            raise Trouble(Reason.API_CONFLICT, "the object has been modified")
        if any(c.reason and not re.search(CONDITION_REASON, c.reason) for c in conditions):
            raise Trouble(Reason.API_REFUSED, "a reason does not match the pattern")
        self.patches.append(tuple(conditions))
        if there.conditions == tuple(conditions):
            return there
        return self._put(dataclasses.replace(there, conditions=tuple(conditions)))

    async def read_lease(self) -> Lease:
        self._enter("read_lease")
        return self._lease_there()

    async def renew_lease(self, lease: Lease) -> Lease:
        self._enter("renew_lease")
        there = self._lease_there()
        if lease.version not in ("", there.version):
            raise Trouble(Reason.API_CONFLICT, "the object has been modified")
        self._version += 1
        annotations = {**there.annotations, **lease.annotations}
        self.lease = dataclasses.replace(lease, annotations=annotations, version=str(self._version))
        return self.lease

    # within -------------------------------------------------------------------------------------

    def _enter(self, method: str) -> None:
        self.calls[method] += 1
        self._trouble(method)

    def _trouble(self, method: str) -> None:
        if method in self.troubles:
            raise self.troubles[method]

    def _there(self) -> Workload:
        if self.workload is None:
            raise Trouble(Reason.WORKLOAD_MISSING, "not found")
        return self.workload

    def _lease_there(self) -> Lease:
        if self.lease is None:
            raise Trouble(Reason.LEASE_MISSING, "not found")
        return dataclasses.replace(self.lease, version=self.lease.version or str(FIRST_VERSION))

    def _put(self, workload: Workload) -> Workload:
        self._version += 1
        changed = dataclasses.replace(workload, resource_version=str(self._version))
        self._remember(changed)
        return changed

    def _remember(self, workload: Workload | None) -> None:
        self.workload = workload
        self._history.append((self._version, workload))
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
