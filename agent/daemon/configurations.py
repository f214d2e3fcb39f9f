"""One configuration of the agent after another, until a signal ends it.

SIGTERM and SIGINT end the process alone: the data plane stays exactly as it is. Any other exception that leaves
the task group is a bug; the process ends non-zero, and systemd starts the next one, which adopts the running
proxy.
"""

import asyncio
import contextlib
import itertools
import signal

import structlog

from agent.adapters import proxy_child, status_socket
from agent.adapters.helper import Helper
from agent.config import Config, derived
from agent.core.tallies import Tallies
from agent.daemon.context import Context
from agent.daemon.wiring import Ending, Parts
from agent.host import Host, boot_id
from agent.loops.board import Board
from agent.offline import credential
from agent.ports import Trouble

HANDOVER_WITHIN = 2.0  # seconds for the last write to the Lease


async def live(config: Config, host: Host, owner: tuple[int, int], helper: Helper) -> None:
    """One configuration after another. Between two nothing is awaited, so that no signal is lost; the socket stays
    open, so that no client is refused. The credential for the API server stays too, unless an edit concerns it:
    its source, SPIRE or a plugin, may be away at this moment, and a drain must still be published."""
    wanted, held, tallies = config, credential.credential(config), Tallies()
    with (
        status_socket.listening(host.socket) as status,
        status_socket.listening(host.push_socket) as pushes,
        contextlib.closing(helper),
    ):
        for count in itertools.count(1):
            spec = derived.policy_spec(wanted, host.prefix, boot_id())
            context = Context(wanted, host, owner, spec, Board(tallies), held, helper, count)
            following = await Daemon(context, status, pushes).run()
            if following is None:
                return
            if credential.sources(following) != credential.sources(wanted):
                held = credential.credential(following)
            wanted = following


class Daemon:
    """The agent with one configuration, and the listeners of its sockets."""

    def __init__(self, context: Context, status: status_socket.Listener, pushes: status_socket.Listener) -> None:
        self._status, self._pushes = status, pushes
        self._stop, self._next = asyncio.Event(), context.config
        self._told_to_end = False
        self._parts = Parts(context, Ending(self._end, self._begin_again))

    async def run(self) -> Config | None:
        """Until a signal (None), or until a reload brings another configuration."""
        parts, loop = self._parts, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, parts.reload.ask)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(parts.api.close)
            stack.callback(parts.redirector.close)
            stack.callback(parts.interfaces.close)
            if isinstance(parts.runtime, proxy_child.ChildProxy):
                stack.callback(parts.runtime.close)
            await stack.enter_async_context(parts.socket().serving(self._status))
            await stack.enter_async_context(parts.push_socket().serving(self._pushes))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part.run(), name=name) for name, part in parts.loops().items()]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
            await self._hand_over()
        return None if self._told_to_end else self._next

    def _end(self) -> None:
        self._told_to_end = True
        self._stop.set()

    def _begin_again(self, config: Config) -> None:
        self._next = config
        self._stop.set()

    async def _hand_over(self) -> None:
        log = structlog.get_logger()
        try:
            async with asyncio.timeout(HANDOVER_WITHIN):
                await self._parts.lease.handover()
        except (Trouble, TimeoutError) as error:
            log.warning("the Lease could not be handed over", detail=str(error))
        log.info("handed over: proxy, redirect and Ready stay as they are")
