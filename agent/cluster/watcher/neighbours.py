"""Reads, every ten minutes, which pods and nodes have an address of a host: optional, by rights of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping

import structlog

from agent.cluster.watcher.board import Board
from agent.core.addresses import Key
from agent.core.reasons import Reason
from agent.core.watch import unique
from agent.core.watch.fleet import Name, WorkloadSeen
from agent.ports import Trouble
from agent.watcher_ports import AddressApi

LOOK = 15.0  # seconds: how often it sees whether this replica leads
EVERY = 600.0  # seconds: pods are many, and few change their address
REMEDY = "to compare them: kubectl apply -f config/cluster/watcher-addresses.yaml"
Reading = Callable[[frozenset[Key]], Awaitable[Mapping[Key, Name]]]


class Neighbours:
    """`leads`: this replica may write. `by_address`: what was found last."""

    def __init__(self, api: AddressApi, board: Board, leads: Callable[[], bool]) -> None:
        self._api, self._board, self._leads = api, board, leads
        self._found: dict[str, Mapping[Key, Name]] = {}
        self._refused = set[str]()
        self._read_at: float | None = None

    def by_address(self) -> Mapping[Key, Name]:
        return {key: name for found in self._found.values() for key, name in found.items()}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now, board = self._board.clock(), self._board
            stale = any(view.stale(now, board.limits) for view in board.views.values())
            if self._leads() and not stale and (self._read_at is None or now - self._read_at >= EVERY):
                self._read_at = now
                for what, reading in self._readings():
                    await self._read(what, reading)

    def _readings(self) -> Iterator[tuple[str, Reading]]:
        for scope in self._board.views:
            where = f"pods of namespace {scope}" if scope else "pods"
            yield where, lambda of, scope=scope: self._api.pods(scope, of)  # type: ignore[misc]  # bound here
        yield "nodes", self._api.nodes

    async def _read(self, what: str, reading: Reading) -> None:
        workloads: dict[Name, WorkloadSeen] = {}
        for view in self._board.views.values():
            workloads |= view.workloads
        try:
            self._found[what] = await reading(unique.keys(workloads))
        except Trouble as trouble:
            refused = trouble.reason in (Reason.API_FORBIDDEN, Reason.WORKLOAD_MISSING)
            if refused:
                self._found.pop(what, None)
                self._name_once(what)
            self._board.fault(f"addresses of {what}", None if refused else trouble.fault)
            return
        self._refused.discard(what)
        self._board.fault(f"addresses of {what}", None)

    def _name_once(self, what: str) -> None:
        """It is no fault: the rights are optional."""
        if what not in self._refused:
            self._refused.add(what)
            structlog.get_logger().info("addresses are not compared", of=what, cause="no right", remedy=REMEDY)
