"""The scenario `first-day`: a host with a running application goes from nothing to Ready and back, by the commands
of docs/getting-started.md, and a plain client of the application's port sees no error.

The commands are read from the page. WAYS says of each how it runs here; the scenario fails at any other.
"""

import asyncio
import contextlib
import hashlib
import re
import shlex
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp

from agent.sandbox.proxy import program
from agent.sandbox.stage import document_steps, namespaces, network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import Load, ask
from agent.sandbox.stage.scene import API_PORT, PROXY_UID, TOKEN, Options, Scene
from agent.sandbox.stage.tour import PATIENCE, Missed, Step, is_ready, must, until

ROOT = Path(__file__).resolve().parents[3]
PAGE, MINIMAL = ROOT / "docs/getting-started.md", ROOT / "config/minimal.toml"
PORT = 5432
URL = f"http://{network.HOST}:{PORT}/"
PER_SECOND = 25.0
NAMES = ("linkerd-dst-headless", "linkerd-policy")


@dataclass
class Host:
    """What the commands of the page act on. `share`: the package's documents, for this host."""

    scene: Scene
    client: Load
    share: Path

    def here(self, text: str) -> str:
        """The page's text with this host's values in place of the page's."""
        values = {
            "/usr/share/doc/fairlead/config": str(self.share),
            "/etc/fairlead": str(self.scene.prefix / "etc/fairlead"),
            "192.0.2.10": network.HOST,
            "192.0.2.1:6443": f"{network.CLUSTER}:{API_PORT}",
            "10.42.0.9": network.CLUSTER,
        }
        for old, new in values.items():
            text = text.replace(old, new)
        return re.sub(r"linkerd2-proxy-v[\w.-]+?(?=\.tar\.gz)", lambda name: str(self.share / name[0]), text)


@dataclass(frozen=True)
class Way:
    """How a command of the page runs here. `pattern`: of the whole command. `instead`: what the sandbox does in
    its place, or why nothing; "" where the command itself runs."""

    pattern: str
    act: Callable[[Host, document_steps.Step], Awaitable[None]] | None
    instead: str = ""


# how a command runs --------------------------------------------------------------------------------


async def _typed(host: Host, step: document_steps.Step) -> None:
    code, output = await host.scene.run_on_host("sh", "-c", host.here(step.command))
    _expected(host, step, code, output)


async def _fairlead(host: Host, step: document_steps.Step) -> None:
    words = shlex.split(host.here(step.command))[1:]
    code, output = await _run(host, *words)
    _expected(host, step, code, output)


async def _run(host: Host, *words: str) -> tuple[int, str]:
    fairlead = (sys.executable, "-m", "agent", *words, "--prefix", str(host.scene.prefix))
    return await host.scene.run_on_host(*fairlead)


def _expected(host: Host, step: document_steps.Step, code: int, output: str) -> None:
    """The exit code, and each line of the page's output, with any spacing."""
    must(code == step.code, f"`{step.command}` ended with exit {code}: {output.strip()}")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for line in host.here(step.output).splitlines():
        must(" ".join(line.split()) in lines, f"`{step.command}` did not print {line!r}: {output.strip()}")


async def _package(host: Host, step: document_steps.Step) -> None:
    host.scene.make_folders()


async def _spire(host: Host, step: document_steps.Step) -> None:
    host.scene.workload_api.deny = False


async def _workload(host: Host, step: document_steps.Step) -> None:
    host.scene.create_workload(network.HOST)


async def _lease(host: Host, step: document_steps.Step) -> None:
    host.scene.create_lease()


async def _file(host: Host, step: document_steps.Step) -> None:
    """What `kubectl` prints, in the file that the comment names."""
    contents = {"trust-anchors.pem": host.scene.ca.pem, "api-ca.pem": host.scene.ca.pem, "token": TOKEN}
    path = Path(host.here(step.command.rpartition("# ")[2]))
    await asyncio.to_thread(path.write_text, contents[path.name])


async def _install(host: Host, step: document_steps.Step) -> None:
    """A tarball as the release has it, with the stand-in in it."""
    tarball, checksums = (Path(word) for word in shlex.split(host.here(step.command))[3::2])
    binary = host.share / "linkerd2-proxy"
    program.write_executable(binary)
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(binary, f"{tarball.name.removesuffix('.tar.gz')}/linkerd2-proxy")
    checksums.write_text(f"{hashlib.sha256(tarball.read_bytes()).hexdigest()}  {tarball.name}\n")
    await _fairlead(host, step)


async def _start(host: Host, step: document_steps.Step) -> None:
    await host.scene.start_agent()


async def _status(host: Host, step: document_steps.Step) -> None:
    """Once the host is Ready, with what it says until then."""
    said = ""

    def ready(status: dict[str, Any]) -> bool:
        nonlocal said
        if status["headline"] != said:
            said = status["headline"]
            print(f"      │ {said}", flush=True)
        return is_ready(status)

    await until(host.scene, ready, "Ready=True")
    code, output = await _run(host, "status")
    must(code == 0 and output.startswith(step.output.strip()), f"`{step.command}`, exit {code}: {output}")
    before = host.client.seen[network.HOST]
    await _asked(host, 20)
    must(host.client.seen[network.HOST] > before, "no request of the client went through the proxy")


async def _condition(host: Host, step: document_steps.Step) -> None:
    must(host.scene.ready() == ("True", "HostReady"), f"the API server has {host.scene.ready()}")


async def _slices(host: Host, step: document_steps.Step) -> None:
    async with asyncio.timeout(PATIENCE):
        while host.scene.listed() != [network.HOST]:
            await host.scene.api.store.news().wait()


async def _leave(host: Host, step: document_steps.Step) -> None:
    await _fairlead(host, step)
    before = host.client.seen[network.CLUSTER]
    await _asked(host, 20)
    must(host.client.seen[network.CLUSTER] > before, "no request of the client reached the application directly")


async def _purge(host: Host, step: document_steps.Step) -> None:
    await host.scene.end_agent()
    left = [one for one in network.processes_on_host() if "agent.sandbox.stage.app" not in one]
    must(not left, f"processes are left: {left}")
    await _asked(host, 20)


_CLUSTER = "the sandbox is the cluster"
_NOT = "the sandbox has its own Workload API in place of SPIRE's"
WAYS = (
    Way(r"getent hosts .*", _typed),
    Way(r"dpkg -i .*", _package, "makes the package's folders"),
    Way(r"(mkdir -p|cp .*) /etc/(spire|systemd)\S*", None, _NOT),
    Way(r"spire\$ .*", None, _NOT),
    Way(r"id -u .*", None, "everything runs as root here, but for the proxy"),
    Way(r"chmod 0600 /etc/spire/join-token", None, _NOT),
    Way(r"systemctl enable --now spire-agent", _spire, "the Workload API gives the host its SVID"),
    Way(r"admin\$ export .*", None, _CLUSTER),
    Way(r"admin\$ envsubst < workload\.yaml \| kubectl .*", _workload, "creates the ExternalWorkload"),
    Way(r"admin\$ envsubst < host\.yaml \| kubectl .*", _lease, "creates the Lease"),
    Way(r"admin\$ kubectl apply -f admission\.yaml .*", None, "its API server evaluates no policy"),
    Way(r"admin\$ kubectl .* +# /etc/fairlead/.*", _file, "writes that file"),
    Way(r"ch(own|mod) \S+ /etc/fairlead/token", None, "there is no user fairlead here"),
    Way(r"mkdir -p /etc/fairlead", _typed),
    Way(r"cp /usr/share/doc/fairlead/config/minimal\.toml .*", _typed),
    Way(r"sed -i .*", _typed),
    Way(r"fairlead proxy install .*", _install),
    Way(r"fairlead status", _status),
    Way(r"fairlead leave", _leave),
    Way(r"fairlead .*", _fairlead),
    Way(r"systemctl (start|enable --now) fairlead", _start, "starts the agent"),
    Way(r"admin\$ kubectl .* get externalworkload .*", _condition, "asks its API server"),
    Way(r"admin\$ kubectl .* get endpointslices .*", _slices, "asks its API server"),
    Way(r"dpkg --purge fairlead", _purge, "ends the agent"),
    Way(r"admin\$ kubectl .* delete .*", None, _CLUSTER),
)


def way(command: str) -> Way:
    """The first that fits. Raises Missed."""
    for one in WAYS:
        if re.fullmatch(one.pattern, command):
            return one
    raise Missed(f"the scenario does not know the page's command `{command}`")


def _kind(command: document_steps.Step) -> tuple[bool, str]:
    """Whether it does anything here, and why not."""
    one = way(command.command)
    return (True, "") if one.act else (False, one.instead)


# the steps -----------------------------------------------------------------------------------------


@dataclass
class FirstDay:
    host: Host

    def steps(self) -> list[Step]:
        """The page's sections, with the client's requests before the first one."""
        steps = [Step("before", "starts an application, and a client that asks it all the time", self._before)]
        for title, commands in groupby(document_steps.steps(PAGE), lambda step: step.section):
            steps.append(self._section(title, list(commands)))
        return steps

    def _section(self, title: str, commands: list[document_steps.Step]) -> Step:
        async def run(_: Scene) -> str:
            try:
                await self._take_all(commands)
            except Missed as missed:  # the client's result is reported too
                await _asked(self.host, 5)
                raise Missed(f"{missed}\n      {self._said()}") from None
            return self._count()

        number, _, name = title.partition(". ")
        count = f"{len(commands)} command{'s' if len(commands) > 1 else ''}"
        return Step(name, f"section {number} of docs/getting-started.md, {count}", run)

    async def _take_all(self, commands: list[document_steps.Step]) -> None:
        for (ours, reason), some in groupby(commands, _kind):
            if not ours:
                print(f"      – not run here ({len(list(some))}): {reason}", flush=True)
                continue
            for command in some:
                await self._take(command)

    async def _take(self, command: document_steps.Step) -> None:
        one = way(command.command)
        assert one.act is not None
        prompt = "" if command.command.startswith(("admin$", "spire$")) else "# "
        note = f"   → {one.instead}" if one.instead else ""
        print(f"      {prompt}{' '.join(command.command.split())}{note}", flush=True)
        await one.act(self.host, command)
        await _asked(self.host, 5)

    async def _before(self, _: Scene) -> str:
        await _asked(self.host, 20)
        return self._count()

    def _count(self) -> str:
        """Of every request so far; one that failed is a step that missed."""
        must(not self.host.client.failed, self._said())
        return self._said()

    def _said(self) -> str:
        client = self.host.client
        if not client.failed:
            return f"{client.sent} requests of the plain client so far, none failed"
        named = "; ".join(f"{count} × {what}" for what, count in Counter(client.failed).most_common(3))
        return f"{len(client.failed)} of {client.sent} requests failed: {named}"


async def _asked(host: Host, count: int) -> None:
    """So many more requests have ended."""
    async with asyncio.timeout(PATIENCE):
        await host.client.reached(host.client.sent + count)


@contextlib.asynccontextmanager
async def standing(base: Path, log: int | None) -> AsyncIterator[FirstDay]:
    """The bare host, its application, and the client under way."""
    options = Options(log=log, token=True, port=PORT, bare=True)
    async with Scene(base, options).standing() as scene:
        scene.workload_api.deny = True
        _name_the_control_plane(base)
        host = Host(scene, Load(URL, per_second=PER_SECOND), base / "share")
        _share(host)
        await scene.start_app()
        await _answers()
        async with background(host.client.run()):
            yield FirstDay(host)


def _name_the_control_plane(base: Path) -> None:
    """As the cluster's DNS does, for this sandbox's processes alone."""
    hosts = base / "hosts"
    names = [f"{network.CLUSTER} {name}.linkerd.svc.cluster.local{dot}" for dot in ("", ".") for name in NAMES]
    hosts.write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
    namespaces.mount(str(hosts), Path("/etc/hosts"), flags=namespaces.MS_BIND)


def _share(host: Host) -> None:
    """The package's minimal example, with the sandbox's places in it."""
    host.share.mkdir()
    text = host.here(MINIMAL.read_text())
    socket = host.scene.base / "workload-api.sock"
    text = text.replace("/run/spire/agent/public/api.sock", str(socket))
    (host.share / "minimal.toml").write_text(f"{text}\n[proxy]\nuser = {PROXY_UID}\n")


async def _answers() -> None:
    """Return once the application does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await ask(URL)
                return
            await asyncio.sleep(0.05)
