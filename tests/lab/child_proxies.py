"""A host for proxies: private namespaces with a Workload API and a client beside it, where agents start and end.

An agent here is a process that owns a ChildProxy and receives its calls by a pipe. So a test can end one
as `kill -9` does and let the next one find what it left. The end of the host is the end of everything in it.
"""

import asyncio
import base64
import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

from agent.adapters.helper import Helper
from agent.adapters.proxy_child import ChildProxy, Paths
from agent.adapters.proxy_unit import UnitProxy
from agent.core.facts import Maybe, Process
from agent.core.proxy import ProxySettings, Reading
from agent.core.reasons import Fault
from agent.ports import ProxyRuntime, Trouble
from agent.sandbox.proxy import program
from agent.sandbox.stage import namespaces
from tests.lab import netns, reached_reasons

if TYPE_CHECKING:  # an agent starts in a third of the time without what only the keeper needs
    from agent.sandbox.identity.ca import Authority

ROOT = Path(__file__).resolve().parents[2]
BASE = Path("/run/fl")  # inside; see ProxyHost.path for the way there from outside
TRUST_DOMAIN = "root.example"
IDENTITY = f"spiffe://{TRUST_DOMAIN}/vm-1"
CLIENT = f"spiffe://{TRUST_DOMAIN}/client"
UID, STRANGER = 2102, 2103  # the Workload API knows the first of them

ADDRESS, ADDRESS6, CLIENT_ADDRESS, CLIENT_ADDRESS6 = "192.0.2.7", "2001:db8::7", "192.0.2.8", "2001:db8::8"

SETTINGS = ProxySettings(
    version="2.366.0",
    workload="vm-1",
    namespace="mixed",
    identity=IDENTITY,
    server_name="vm-1.mixed.example",
    addresses=(ADDRESS, ADDRESS6),
    workload_api=str(BASE / "workload.sock"),
    ports=(8080,),
    grace=3,
    destination="127.0.0.1:1",
    policy="127.0.0.1:1",
)

# They allow every client, and have no policy for what goes out. Not on loopback, where the proxy speaks no TLS.
CONTROLLED = replace(SETTINGS, destination=f"{ADDRESS}:8086", policy=f"{ADDRESS}:8090")

_NETWORK = f"""\
link set lo up
netns add client
link add eth0 type veth peer name eth0 netns client
address add {ADDRESS}/24 dev eth0
address add {ADDRESS6}/64 dev eth0 nodad
link set eth0 up
"""
_CLIENT = f"""\
link set lo up
address add {CLIENT_ADDRESS}/24 dev eth0
address add {CLIENT_ADDRESS6}/64 dev eth0 nodad
link set eth0 up
"""


# With the real program, the stand-in can be compared to it.
REAL_BINARY = os.environ.get("LINKERD2_PROXY")
PROXIES = [pytest.param(name, marks=pytest.mark.real) for name in ("stand-in", "linkerd2-proxy")]
PROXIES = PROXIES if REAL_BINARY else PROXIES[:1]


def binary_of(name: str) -> str | None:
    """For ProxyHost, by a name in PROXIES."""
    return REAL_BINARY if name == "linkerd2-proxy" else None


@dataclass(frozen=True)
class Options:
    """What an agent makes its ChildProxy of. `uid`: the proxy's user; `own_uid`: the agent's."""

    settings: ProxySettings = SETTINGS
    binary: str = str(BASE / "proxy")
    anchors: str = str(BASE / "anchors.pem")
    gate: tuple[str, ...] = ("true",)
    preflight: tuple[str, ...] = ("echo", '{"ok": true}')
    uid: int = UID
    own_uid: int = 0

    def runtime(self) -> ChildProxy:
        paths = Paths(self.binary, (Path(self.anchors),), BASE / "run/proxy.json", BASE / "log/proxy.log")
        return ChildProxy(lambda: self.settings, paths, self.uid, self.uid, self.gate, self.preflight)


@dataclass(frozen=True)
class UnitOptions:
    """What an agent on a machine makes its UnitProxy of."""

    settings: ProxySettings

    def runtime(self) -> ProxyRuntime:
        return UnitProxy(lambda: self.settings, Helper("/"), Path("/"))


@dataclass(frozen=True)
class Space(netns.Namespace):
    """A network namespace by the file that stands for it."""

    @property
    def path(self) -> str:
        return self.name


class ProxyHost:
    """`binary`: a real linkerd2-proxy in the stand-in's place. `ttl`: seconds that an SVID lives. `controlled`:
    the controllers of CONTROLLED answer."""

    def __init__(self, binary: str | None = None, ttl: float = 20.0, *, controlled: bool = False) -> None:
        self.binary, self._ttl = binary or Options.binary, ttl
        self._words = ["controlled"] if controlled else []
        self._pid = 0

    @property
    def network(self) -> Space:
        return Space(f"/proc/{self._pid}/ns/net")

    @property
    def client(self) -> Space:
        """The network of a client beside the host."""
        return Space(f"/proc/{self._pid}/root/run/netns/client")

    async def __aenter__(self) -> Self:
        command = [*namespaces.UNSHARE, sys.executable, "-m", "tests.lab.child_proxies", "keep", str(self._ttl)]
        command += self._words
        environment = {**os.environ, namespaces.INSIDE: "1"}
        self._keeper = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
        )
        assert self._keeper.stdout
        assert await self._keeper.stdout.readline() == b"up\n"
        self._pid = only_child(self._keeper.pid)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.kill()
        await self._keeper.communicate()

    def path(self, name: str) -> Path:
        """A file of the host, as it is reached from outside."""
        return Path(f"/proc/{self._pid}/root{BASE}/{name}")

    def write(self, name: str, text: str, mode: int = 0o755) -> str:
        """Write a file on the host; its name there."""
        self.path(name).write_text(text)
        self.path(name).chmod(mode)
        return str(BASE / name)

    async def until_logged(self, text: str) -> None:
        """Return once the proxy has printed it."""
        async with asyncio.timeout(30):
            while text not in self.path("log/proxy.log").read_text():
                await asyncio.sleep(0.02)

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--net", "--", *argv]

    async def run(self, *argv: str) -> str:
        """Run a program on the host; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*argv), stdout=subprocess.PIPE, env={**os.environ}
        )
        output, _ = await process.communicate()
        return output.decode()

    @contextlib.asynccontextmanager
    async def running(self, *argv: str) -> AsyncIterator[str]:
        """A program runs on the host inside the block; the first line that it prints. Its standard input ends
        afterwards."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ},
        )
        assert process.stdin and process.stdout
        try:
            yield (await process.stdout.readline()).decode().strip()
        finally:
            process.stdin.close()
            await process.wait()

    @contextlib.asynccontextmanager
    async def agent(self, options: Options | None = None) -> AsyncIterator["RemoteRuntime"]:
        options = options or Options(binary=self.binary)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        argv = [f"--reuid={options.own_uid}", sys.executable, "-m", "tests.lab.child_proxies", "agent"]
        process = await asyncio.create_subprocess_exec(
            *self.command("setpriv", *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            limit=1 << 24,
        )
        runtime = RemoteRuntime(process, options)
        try:
            yield runtime
        finally:
            await runtime.close()


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@dataclass
class RemoteRuntime:
    """Implements ports.ProxyRuntime by an agent on a ProxyHost."""

    process: asyncio.subprocess.Process
    options: "Options | UnitOptions"
    _calls: dict[int, "asyncio.Future[Any]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._reading = asyncio.create_task(self._read())
        self._send(self.options)

    async def adopt(self) -> Process | None:
        found: Process | None = await self._call("adopt")
        return found

    async def prove(self, version: str) -> None:
        await self._call("prove", version)

    async def start(self) -> Process:
        started: Process = await self._call("start")
        return started

    async def appear(self) -> Process:
        appeared: Process = await self._call("appear")
        return appeared

    async def abandon(self) -> None:
        await self._call("abandon")

    async def wait(self, process: Process) -> Fault:
        fault: Fault = await self._call("wait", process)
        return fault

    async def terminate(self, process: Process) -> None:
        await self._call("terminate", process)

    async def kill(self, process: Process) -> None:
        await self._call("kill", process)

    async def carried(self, process: Process) -> Maybe[int]:
        count: Maybe[int] = await self._call("carried", process)
        return count

    async def inspect(self, process: Process) -> Reading:
        reading: Reading = await self._call("inspect", process)
        return reading

    async def descriptors(self) -> int:
        """How many files the agent has open."""
        count: int = await self._call("descriptors")
        return count

    async def die(self) -> None:
        """kill -9 of the agent."""
        self._send((0, "die", ()))
        await self.process.wait()

    async def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        await self.process.wait()
        await self._reading

    def _send(self, value: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(base64.b64encode(pickle.dumps(value)) + b"\n")

    async def _call(self, name: str, *arguments: object) -> Any:
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send((number, name, arguments))
        ok, value = await future
        if ok:
            return value
        reached_reasons.answered(value[0])
        raise Trouble(*value)

    async def _read(self) -> None:
        assert self.process.stdout
        while line := await self.process.stdout.readline():
            number, *answer = pickle.loads(base64.b64decode(line))
            waiting = self._calls.pop(number)
            if not waiting.cancelled():
                waiting.set_result(answer)


# the programs inside -------------------------------------------------------------------------------


def _settle() -> "Authority":
    """The network and the files of a host."""
    from agent.sandbox.identity.ca import Authority

    base = namespaces.settle(*namespaces.python_roots())
    assert base == BASE
    authority = Authority(TRUST_DOMAIN)
    (base / "anchors.pem").write_text(authority.pem)
    client = authority.svid(CLIENT, 600)
    (base / "client.pem").write_text(client.key_pem + client.cert_pem)
    program.write_executable(base / "proxy", STANDIN_ANSWERED="1")  # there is no control plane
    subprocess.run(["ip", "-batch", "-"], input=_NETWORK.encode(), check=True, env={**os.environ})
    subprocess.run(["ip", "-n", "client", "-batch", "-"], input=_CLIENT.encode(), check=True, env={**os.environ})
    return authority


async def keep(ttl: float, *, controlled: bool) -> None:
    from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer

    entries, authority = {UID: (Entry(IDENTITY),)}, _settle()
    if controlled:
        from agent.sandbox.api.server import ApiServer
        from agent.sandbox.proxy.controllers import Controllers

        await Controllers(authority, ADDRESS, ApiServer({})).start()
    async with WorkloadApiServer(BASE / "workload.sock", authority, entries, ttl=ttl):
        print("up", flush=True)
        await asyncio.Event().wait()


async def run_agent() -> None:
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    options: Options | UnitOptions = pickle.loads(base64.b64decode(await lines.readline()))
    runtime = options.runtime()
    tasks = set()
    while line := await lines.readline():
        number, name, arguments = pickle.loads(base64.b64decode(line))
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "descriptors":
            _tell(number, True, _descriptors())
            continue
        tasks.add(asyncio.create_task(_answer(runtime, number, name, arguments)))


async def _answer(runtime: ProxyRuntime, number: int, name: str, arguments: Sequence[object]) -> None:
    try:
        _tell(number, True, await getattr(runtime, name)(*arguments))
    except Trouble as trouble:
        _tell(number, False, (trouble.reason, trouble.detail))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _tell(number: int, ok: bool, value: object) -> None:
    print(base64.b64encode(pickle.dumps((number, ok, value))).decode(), flush=True)


if __name__ == "__main__":
    # Pickled values must name their classes by where both sides import them from.
    from tests.lab import child_proxies

    match sys.argv[1:]:
        case ["keep", ttl, *words]:
            asyncio.run(child_proxies.keep(float(ttl), controlled="controlled" in words))
        case ["agent"]:
            asyncio.run(child_proxies.run_agent())
