"""`fairlead watcher` as a process: composition root, and the end by a signal."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass

import structlog

from agent.adapters import kube
from agent.adapters.http_server import Server
from agent.adapters.kube import pod
from agent.adapters.kube.fleet import FleetApi
from agent.adapters.kube.kubeconfig import Kubeconfig
from agent.adapters.kube.leader import LeaderApi
from agent.cluster.watcher.board import Board
from agent.cluster.watcher.groups import Groups
from agent.cluster.watcher.judge import Judge
from agent.cluster.watcher.leader import Leader
from agent.cluster.watcher.neighbours import Neighbours
from agent.cluster.watcher.observer import Observer
from agent.cluster.watcher.pages import Pages
from agent.cluster.watcher.retiring import Retiring
from agent.cluster.watcher.uniqueness import Uniqueness
from agent.core.watch.election import Terms
from agent.core.watch.guard import Pace
from agent.core.watch.limits import Limits
from agent.host import clocks
from agent.ports import Trouble

LEASE = "fairlead-watcher"
PACES = "fairlead.dev/paces"  # annotation of LEASE: the zones that the guard keeps, as JSON
BACKLOG = 64
RELEASE_WITHIN = 2.0  # seconds
# Seconds for one call. Shorter than a reading may take, so that its failure is seen before the view is stale.
TIMEOUT = 8.0


@dataclass(frozen=True)
class Settings:
    """`scopes`: namespaces, or ALL alone. `me`: this replica's name. `listen`: address and port."""

    credential: kube.Credential
    scopes: Sequence[str]
    namespace: str
    me: str
    listen: tuple[str, int]
    limits: Limits
    terms: Terms


def in_cluster(environment: Mapping[str, str]) -> kube.Credential | None:
    """None: this is no pod."""
    return pod.credential(environment)


def kubeconfig(file: str, context: str) -> kube.Credential:
    return Kubeconfig(file, context, time.time, random.random)


def run(settings: Settings, *, json_log: bool) -> None:
    """Until SIGTERM or SIGINT. Raises OSError: the address to listen on cannot be used."""
    _configure_log(json_log)
    with socket.create_server(settings.listen, family=_family(settings.listen[0])) as listener:
        asyncio.run(_live(settings, listener))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _configure_log(json_log: bool) -> None:
    form = structlog.processors.JSONRenderer() if json_log else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            form,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


async def _live(settings: Settings, listener: socket.socket) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    board = Board(settings.scopes, settings.limits, clocks.elapsed)
    api = FleetApi(settings.credential, instance=settings.me, timeout=TIMEOUT)
    lease = LeaderApi(api.caller, settings.namespace, LEASE, settings.me, clocks.exact_wall)
    leader = Leader(lease, board, settings.me, settings.terms, lambda: about(board))
    times = (clocks.wall, clocks.exact_wall, clocks.token)
    judge = Judge(api, board, leader.leads, lease, *times)
    near = Neighbours(api, board, leader.leads)
    unique = Uniqueness(api, board, leader.leads, *times, near.by_address)
    groups, retiring = (loop(api, board, leader.leads) for loop in (Groups, Retiring))
    observers = [Observer(api, scope, board, random.random) for scope in settings.scopes]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        listener.setblocking(False)
        structlog.get_logger().info("serves", address=settings.listen[0], port=listener.getsockname()[1])
        routes = Pages(board, judge, leader.leads).routes()
        await stack.enter_async_context(Server(routes).serving(listener, BACKLOG))
        observing = (observer.run() for observer in observers)
        writing = (judge.run(), unique.run(), groups.run(), retiring.run(), near.run())
        async with _group(leader.run(), *writing, *observing):
            await ended.wait()
        await _release(leader)


@contextlib.asynccontextmanager
async def _group(*loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in loops]
        yield
        for task in tasks:
            task.cancel()


async def _release(leader: Leader) -> None:
    try:
        async with asyncio.timeout(RELEASE_WITHIN):
            await leader.release()
    except (Trouble, TimeoutError) as error:
        structlog.get_logger().warning("the watcher's own Lease could not be released", detail=str(error))


def about(board: Board) -> dict[str, str]:
    """The zones that are not taken out at the normal pace."""
    paces = board.decision.memory.paces.items()
    return {PACES: json.dumps({zone: pace.value for zone, pace in sorted(paces) if pace is not Pace.NORMAL})}
