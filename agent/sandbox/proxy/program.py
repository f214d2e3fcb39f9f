"""A stand-in for linkerd2-proxy that implements its external contract (docs/linkerd.md §1-§3, §12) only.

The same environment, exit codes, ports, admin pages, metrics, SVID, mTLS, original destination and drain. It
forwards bytes where the real one speaks HTTP, except that it ends connections of HTTP/2 by GOAWAY. Of the control
plane it takes only the opaque ports, so the policy in its environment is the one that it applies.
tests/contract/test_linkerd2_proxy.py and its neighbours check both alike.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

from agent.host.serving import close
from agent.sandbox.proxy.settings import Address, Invalid, Settings, parse

EXIT_REFUSED, EXIT_FAILED, EXIT_PANICKED = 64, 1, 101

# What tests switch, in the environment or in `write_executable`.
CRASH = "STANDIN_EXIT"  # exit with this code at once
HANG = "STANDIN_HANG"  # open no port, and ignore SIGTERM
UNREADY = "STANDIN_UNREADY"  # /ready always returns 503
LIE = "STANDIN_LIE"  # /ready always returns 200
# The identity panics at the start, and the process goes on without it: it reports "ready" and serves nothing.
PANIC = "STANDIN_PANIC"
DEAD_WORKER = "STANDIN_DEAD_WORKER"  # once certified, log as a proxy does whose worker has died
LEAK = "STANDIN_LEAK"  # once certified, allocate this many MiB each second

_EXECUTABLE = """\
#!{python} -IB
import os, sys
sys.path.insert(0, {root!r})
os.environ.update({switches!r})
from agent.sandbox.proxy.program import main
sys.exit(main())
"""


def write_executable(path: Path, **switches: str) -> None:
    """Make `path` a program that is this stand-in. `switches`: STANDIN_… variables that it starts with."""
    root = str(Path(__file__).resolve().parents[3])
    path.write_text(_EXECUTABLE.format(python=sys.executable, root=root, switches=switches))
    path.chmod(0o755)


def main() -> int:
    if CRASH in os.environ:
        return int(os.environ[CRASH])
    if HANG in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    try:
        settings = parse(os.environ)
    except Invalid as invalid:
        log(f"ERROR {invalid}")
        log("Invalid configuration: invalid environment variable")
        return EXIT_REFUSED
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    # Imported here: a refused configuration is reported at once, and these parts take half a second to load.
    from agent.sandbox.proxy.identity import NoTrustRoots

    try:
        stand_in = StandIn(settings)
    except NoTrustRoots as error:
        log(f"Initialization failure: {error}")
        return EXIT_FAILED
    return await stand_in.run()


class StandIn:
    """Raises NoTrustRoots."""

    def __init__(self, settings: Settings) -> None:
        from agent.sandbox.proxy.admin import Admin
        from agent.sandbox.proxy.identity import Identity
        from agent.sandbox.proxy.metrics import Metrics
        from agent.sandbox.proxy.policy import PolicyClient
        from agent.sandbox.proxy.traffic import Traffic

        self._settings = settings
        self._identity = Identity(settings, log)
        self._stop = asyncio.Event()
        metrics = Metrics(self._identity, settings.policy, settings.policy_name)
        self._policy = PolicyClient(settings, metrics)
        self._traffic = Traffic(settings, self._identity, self._policy.is_opaque, metrics, log)
        self._admin = Admin(settings, metrics, self._is_ready, self._stop.set)

    def _is_ready(self) -> bool:
        """A proxy whose identity has died reports "ready", as the real one does: a dropped latch counts."""
        if LIE in os.environ:
            return True
        return UNREADY not in os.environ and (self._identity.certified.is_set() or self._identity.dead.is_set())

    async def run(self) -> int:
        """From binding to the exit code."""
        try:
            inbound, *outbound = [_listen(one) for one in (self._settings.inbound, *self._settings.outbound)]
        except OSError as error:
            log(f"panicked at binding a listener: {error.strerror}")
            return EXIT_PANICKED
        try:
            admin = await asyncio.start_server(self._admin.handle, sock=_listen(self._settings.admin))
        except OSError as error:
            log(f"Initialization failure: {error.strerror}")
            return EXIT_FAILED
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        log(f"Inbound interface on {self._settings.inbound}, admin on {self._settings.admin}")
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._identity.follow())
            serving = group.create_task(self._serve(inbound, outbound))
            misbehaving = group.create_task(self._misbehave())
            asking = group.create_task(self._ask())
            await self._stop.wait()
            misbehaving.cancel()
            asking.cancel()
            log("Received shutdown signal")
            await close(admin)
            await self._end(serving)
            following.cancel()
            serving.cancel()
        return 0

    async def _ask(self) -> None:
        """Over TLS with its own certificate, so not before there is one."""
        await self._identity.certified.wait()
        await self._policy.follow()

    async def _misbehave(self) -> None:
        """As its switches say, while it serves."""
        await self._identity.certified.wait()
        if DEAD_WORKER in os.environ:
            log("WARN outbound: buffer's worker closed unexpectedly")
        taken: list[bytearray] = []
        while LEAK in os.environ:
            taken.append(bytearray(b"x") * (int(os.environ[LEAK]) << 20))
            await asyncio.sleep(1)

    async def _serve(self, inbound: socket.socket, outbound: list[socket.socket]) -> None:
        """The listeners are bound, and connections hang in their backlog until the first certificate; without
        a Workload API at the start they are released."""
        certified = asyncio.create_task(self._identity.certified.wait())
        dead = asyncio.create_task(self._identity.dead.wait())
        try:
            await asyncio.wait({certified, dead}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            certified.cancel()
            dead.cancel()
        if self._identity.certified.is_set():
            self._traffic.serve(inbound, outbound)
        else:
            for listener in (inbound, *outbound):
                listener.close()

    async def _end(self, serving: asyncio.Task[None]) -> None:
        """Wait for the first certificate, as the real one does, then for the last connection; within grace."""
        try:
            async with asyncio.timeout(self._settings.grace):
                await asyncio.shield(serving)
                await self._traffic.drain()
        except TimeoutError:
            log(f"Graceful shutdown did not complete in {self._settings.grace:g}s, terminating now")
            await self._traffic.cut()


def _listen(address: Address) -> socket.socket:
    """An IPv6 listener on every address takes IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.create_server(address, family=family, backlog=128, dualstack_ipv6=address[0] == "::")
    listener.setblocking(False)
    return listener


_BEGAN = time.monotonic()


def log(text: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:12.6f}s] {text}", flush=True)
