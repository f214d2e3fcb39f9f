"""The tour: the life of a host, one step after the other. Each step prints what it does, checks the result, and
prints it."""

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agent.sandbox.stage import greetings, network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import Load, ask, ask_meshed, in_flight
from agent.sandbox.stage.greetings import MAIL_PORT
from agent.sandbox.stage.scene import (
    API_IDENTITY,
    IDENTITY,
    POD_PORT,
    PORT,
    SERVER_NAME,
    SSH_PORT,
    TRUST_DOMAIN,
    Scene,
    end,
)

PATIENCE = 60.0  # seconds for one thing to come true
URL = f"http://{network.HOST}:{PORT}/"
URL6 = f"http://[{network.HOST6}]:{PORT}/"


class Missed(Exception):
    """A check found something other than expected."""


@dataclass(frozen=True)
class Step:
    """`does`: what happens, in plain words. `command`: its command on a host, "" if there is none."""

    name: str
    does: str
    run: Callable[[Scene], Awaitable[str]]
    command: str = ""


def must(condition: bool, saw: str) -> None:
    if not condition:
        raise Missed(saw)


async def until(scene: Scene, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The agent's status as soon as it is `wanted`; woken by each change, without polling."""
    status: dict[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            status = await _reachable(scene)
            while not wanted(status):
                status = await scene.status(after=status["version"])
    except TimeoutError:
        problems = "; ".join(f"{p['reason']} {p['detail']}" for p in status.get("problems", []))
        raise Missed(f"no {what} within {PATIENCE:g} s: {status.get('headline')} [{problems}]") from None
    return status


async def _reachable(scene: Scene) -> dict[str, Any]:
    """The status, once the agent's socket is there."""
    while True:
        try:
            return await scene.status()
        except aiohttp.ClientError:
            must(scene.agent is not None and scene.agent.returncode is None, "the agent has ended: see its log")
            await asyncio.sleep(0.05)


def is_ready(status: dict[str, Any]) -> bool:
    good = all(condition["status"] == "True" for condition in status["conditions"])
    return bool(good and status["ready"]["status"] == "True" and status["goals"]["advertise"] == "yes")


# the steps -----------------------------------------------------------------------------------------


async def open_before(scene: Scene) -> str:
    """The first start of an agent refuses no client that the application has."""
    await scene.start_app()
    scene.workload_api.deny = True
    await scene.start_agent()
    status = await until(
        scene,
        lambda s: bool(s["facts"]["redirect"] != "unknown" and s["facts"]["redirect"]["inbound"] == "released"),
        "its first decision",
    )
    reason = status["problems"][0]["reason"]
    answer = await ask(URL)
    must(answer["from"] == network.CLUSTER, f"the application saw {answer}")
    return f"no identity yet ({reason}): the port is open as before, and is redirected only with the first Ready"


async def join(scene: Scene) -> str:
    scene.workload_api.deny = False
    status = await until(scene, is_ready, "Ready=True")
    must(scene.ready() == ("True", "HostReady"), f"the API server has {scene.ready()}")
    proxy = status["facts"]["proxy"]["process"]["pid"]
    return f"identity {proved_identity(status)}, proxy pid {proxy}, the API server has Ready=True"


def proved_identity(status: dict[str, Any]) -> str:
    return str(status["facts"]["identity"]["svid"]["spiffe_id"])


SECRETS = re.compile(rb"PRIVATE KEY|eyJ[\w-]+\.|[Tt]oken *[:=]|password")


async def keyless(scene: Scene) -> str:
    """Looks into every file of the host, and into the agent's open ones."""
    status = await until(scene, lambda s: "expires_at" in s["credential"], "API credential")
    credential = status["credential"]
    agents = credential["kind"] == "spiffe" and credential["subject"] == API_IDENTITY
    must(agents, f"the credential is {credential}")
    named = {seen.user for seen in scene.api.requests if seen.path.endswith("/status")}
    must(named == {API_IDENTITY}, f"the API server saw the status written by {sorted(named)}")
    files = [path for path in scene.prefix.rglob("*") if path.is_file()]
    leaks = [str(path) for path in files if SECRETS.search(path.read_bytes())]
    must(not leaks, f"something like a secret is in {', '.join(leaks)}")
    return (
        f"{len(files)} files on the host, no secret in any; the API server knows it as {API_IDENTITY},"
        f" by a JWT-SVID for {credential['audience']} ({credential['expires_at']:.0f} s left, in memory)"
    )


async def plain_request(scene: Scene) -> str:
    seen = [(await ask(url))["from"] for url in (URL, URL6)]
    must(seen == [network.HOST, network.HOST6], f"the application saw {seen}, not the proxy")
    return "over IPv4 and IPv6 the application saw the proxy, not the client: the request went through it"


async def meshed_request(scene: Scene) -> str:
    client = f"spiffe://{TRUST_DOMAIN}/client"
    seen = await ask_meshed(network.HOST, PORT, SERVER_NAME, scene.ca, client)
    must(seen.peer_id == IDENTITY, f"the host proved to be {seen.peer_id!r}")
    must('"hello"' in seen.answer, f"the answer was {seen.answer[:80]!r}")
    return f"the host proved to be {seen.peer_id}; the application answered"


async def ssh_untouched(scene: Scene) -> str:
    seen = (await ask(f"http://{network.HOST}:{SSH_PORT}/"))["from"]
    must(seen == network.CLUSTER, f"port 22 saw {seen}")
    return "what listens on port 22 saw the client itself: no rule touches it"


async def outbound_request(scene: Scene) -> str:
    before = await _outbound_connections(scene)
    answer = await scene.read_on_host(sys.executable, "-I", "-c", _FETCH, f"http://{network.POD}:{POD_PORT}/")
    after = await _outbound_connections(scene)
    must("from a pod" in answer and after > before, f"answer {answer[-80:]!r}, connections {before} → {after}")
    return "a program on the host asked a pod, and its connection went through the proxy"


_FETCH = "import sys,urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"


async def _outbound_connections(scene: Scene) -> float:
    text = await scene.read_on_host(sys.executable, "-I", "-c", _FETCH, "http://127.0.0.1:4191/metrics")
    lines = [x for x in text.splitlines() if x.startswith("tcp_open_total{") and 'direction="outbound"' in x]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def app_dies(scene: Scene) -> str:
    await scene.stop_app()
    status = await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")
    must(scene.ready() == ("False", "ProbeFailing"), f"the API server has {scene.ready()}")
    probe = status["facts"]["probes"]["probes"][0]
    return f"the probe says: {probe['detail']}; the API server has Ready=False (ProbeFailing)"


async def app_returns(scene: Scene) -> str:
    await scene.start_app()
    await until(scene, is_ready, "Ready=True")
    must((await ask(URL))["from"] == network.HOST, "the request did not go through the proxy")
    return "Ready=True again, and it serves"


async def agent_killed(scene: Scene) -> str:
    before = await until(scene, is_ready, "Ready=True")
    writes = status_writes(scene)
    async with load(scene) as sent:
        await scene.kill_agent()
        await _requests_more(sent, 20)  # the host serves on without its agent
        await scene.start_agent()
        after = await until(scene, is_ready, "Ready=True")
        await _requests_more(sent, 20)
    must(not sent.failed, f"{len(sent.failed)} of {sent.sent} requests failed: {sent.failed[:2]}")
    pids = [s["facts"]["proxy"]["process"]["pid"] for s in (before, after)]
    must(pids[0] == pids[1] and after["facts"]["proxy"]["adopted"], f"the proxy's pid went {pids[0]} → {pids[1]}")
    must(status_writes(scene) == writes, "Ready was written")
    return f"{sent.sent} requests, none failed; same proxy (pid {pids[0]}), no write to Ready"


def status_writes(scene: Scene) -> int:
    return sum(1 for seen in scene.api.requests if seen.method == "PATCH" and seen.path.endswith("/status"))


@contextlib.asynccontextmanager
async def load(scene: Scene) -> AsyncIterator[Load]:
    """A steady stream of requests runs inside; all have ended afterwards."""
    stream = Load(URL)
    async with background(stream.run()):
        yield stream


async def _requests_more(stream: Load, count: int) -> None:
    goal = stream.sent + count
    async with asyncio.timeout(PATIENCE):
        await stream.reached(goal)


async def rotation(scene: Scene) -> str:
    first = await until(scene, is_ready, "Ready=True")
    count = first["facts"]["identity"]["updates"]
    old = first["facts"]["proxy"]["certificate_expires_at"]
    scene.workload_api.rotate()

    def rotated(status: dict[str, Any]) -> bool:
        proxy = status["facts"]["proxy"]["certificate_expires_at"]
        return bool(status["facts"]["identity"]["updates"] > count and proxy is not None and proxy > old)

    status = await until(scene, rotated, "rotation")
    must(is_ready(status), "Ready was lost")
    left = status["facts"]["proxy"]["certificate_expires_at"]
    return f"agent and proxy have a new SVID ({left:.0f} s left), Ready all along"


async def api_away(scene: Scene) -> str:
    await scene.api.stop()
    status = await until(scene, lambda s: any(p["reason"].startswith("Api") for p in s["problems"]), "report")
    must((await ask(URL))["from"] == network.HOST, "the host stopped serving")
    named = [p["reason"] for p in status["problems"]]
    await scene.start_api()
    await until(scene, lambda s: is_ready(s) and not s["problems"], "recovery")
    return f"named as {', '.join(named)}; the host served on, and recovered when the server came back"


async def drain(scene: Scene) -> str:
    await until(scene, is_ready, "Ready=True")
    await _until_listed(scene, [network.HOST])
    scene.slices.delay = 1.5  # the mesh takes its time
    slow = await in_flight(f"{URL}slow?seconds=7")
    proxy = (await scene.status())["facts"]["proxy"]["process"]["pid"]
    code, output = await scene.cli("drain")
    must(code == 0, f"exit {code}: {output}")
    must(slow.done() and (await slow)["from"] == network.HOST, "the request in flight was not waited for")
    must(not scene.listed(), f"EndpointSlices still list {scene.listed()}")
    for step in ("no EndpointSlice lists", "open connections to end", "Drained:"):
        must(step in output, f"it did not report {step!r}: {output}")
    scene.slices.delay = 0.0
    code, output = await scene.cli("undrain")
    must(code == 0, f"exit {code}: {output}")
    status = await until(scene, is_ready, "Ready=True")
    must(status["facts"]["proxy"]["process"]["pid"] == proxy, "the proxy was replaced")
    return "out of every EndpointSlice, then the last request ended (7 s); back with the same proxy"


async def _until_listed(scene: Scene, addresses: list[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while scene.listed() != addresses:
            await scene.api.store.news().wait()


async def leave(scene: Scene) -> str:
    slow = await in_flight(f"{URL}slow?seconds=3")
    code, output = await scene.cli("leave")
    must(code == 0, f"exit {code}: {output}")
    answer = await slow
    must(answer["from"] == network.HOST, f"the slow request saw {answer}")
    must(scene.ready() == ("False", "Left"), f"the API server has {scene.ready()}")
    rules = json.loads(await scene.read_on_host("nft", "-j", "list", "tables"))["nftables"]
    must(not [r for r in rules if "table" in r], f"rules are left: {rules}")
    must((await ask(URL))["from"] == network.CLUSTER, "the request still went through a proxy")
    return "Ready=False first; a request of 3 s in flight was completed; proxy ended, no rule left"


async def rejoin(scene: Scene) -> str:
    code, output = await scene.cli("join")
    must(code == 0, f"exit {code}: {output}")
    must((await ask(URL))["from"] == network.HOST, "the request did not go through the proxy")
    return "Ready=True, through a new proxy"


async def speaks_first(scene: Scene) -> str:
    """Refused, so that no client is lost; then the commands of the refusal are followed."""
    server = await greetings.start(scene, greetings.SMTP, MAIL_PORT)
    try:
        await _declare_mail(scene, [])
        code, output = await greetings.redirect_apply(scene)
        annotate = greetings.remedy(str(MAIL_PORT))
        must(code == 1 and "ServerSpeaksFirst" in output and annotate in output, f"exit {code}: {output}")
        must(await greetings.seen() == network.CLUSTER, "the refused port was redirected")
        greetings.annotate(scene.api, str(MAIL_PORT))
        await _declare_mail(scene, [MAIL_PORT])
        code, output = await scene.cli("proxy", "restart")
        must(code == 0, f"exit {code}: {output}")
        code, output = await greetings.redirect_apply(scene)
        must(code == 0, f"exit {code}: {output}")
        must(await greetings.seen() == network.HOST, "the client was not greeted through the proxy")
        await greetings.greeted_meshed(network.HOST, MAIL_PORT, scene.ca)
    finally:
        await end(server)
    return f"port {MAIL_PORT} was refused and stayed open; opaque, it greets plain and meshed clients at once"


async def _declare_mail(scene: Scene, opaque_ports: list[int]) -> None:
    greetings.declare(scene.api)
    path = scene.prefix / "etc/fairlead/fairlead.toml"
    path.write_text(greetings.declared(path.read_text(), opaque_ports))
    code, output = await scene.cli("reload")
    must(code == 0, f"exit {code}: {output}")


async def nothing_left(scene: Scene) -> str:
    code, output = await scene.cli("leave")
    must(code == 0, f"exit {code}: {output}")
    await scene.end_agent()
    await scene.stop_app()
    left = network.processes_on_host()
    must(not left, f"processes are left: {left}")
    must(not (scene.prefix / "run/fairlead/fairlead.sock").exists(), "the socket is left")
    return "no process, no rule, no socket on the host"


@dataclass
class Tour:
    """`real_proxy`: the proxy is linkerd2-proxy itself, which needs a control plane for outbound traffic."""

    real_proxy: bool
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def steps(self) -> list[Step]:
        steps = [
            Step(
                "open until ready",
                "starts the agent on a host that has no identity yet",
                open_before,
                "systemctl start fairlead",
            ),
            Step("join", "gives the host its identity", join, "fairlead status --watch"),
            Step("no secret", "looks for a credential on the host's disk", keyless, "fairlead status"),
            Step("plain request", "a client in the cluster asks the application", plain_request, f"curl {URL}"),
            Step("meshed request", "a meshed peer asks over mTLS, with an SVID of its own", meshed_request),
            Step("SSH untouched", "asks what listens on port 22 of the host", ssh_untouched),
            Step("outbound request", "a program on the host asks a pod", outbound_request),
            Step("application dies", "stops the application", app_dies),
            Step("application returns", "starts it again", app_returns),
            Step(
                "agent killed",
                "kills the agent with SIGKILL under load, and starts it again",
                agent_killed,
                "kill -9 AGENT",
            ),
            Step("rotation", "replaces every SVID, as the Workload API does at half of its life", rotation),
            Step("API server away", "stops the API server for a while", api_away),
            Step("drain", "takes the host out of service, and back", drain, "fairlead drain; fairlead undrain"),
            Step("leave", "takes the host out of the mesh, with a request in flight", leave, "fairlead leave"),
            Step("join again", "takes it back into the mesh", rejoin, "fairlead join"),
            Step(
                "server speaks first",
                "declares the port of a mail server, whose clients wait for a greeting",
                speaks_first,
                "fairlead proxy restart; fairlead redirect apply",
            ),
            Step("nothing left", "leaves the mesh and ends the agent", nothing_left, "fairlead leave"),
        ]
        return [s for s in steps if not (self.real_proxy and s.run is outbound_request)]


async def take(scene: Scene, step: Step) -> bool:
    """Run one step of the tour, and print its result and how long it took."""
    began = time.monotonic()
    try:
        saw, mark = await step.run(scene), "✓"
    except Missed as missed:
        saw, mark = str(missed), "✗"
    print(f"    {mark} {saw}  ({time.monotonic() - began:.1f} s)", flush=True)
    if mark == "✗":
        print("    the agent's last words:", flush=True)
        print("".join(f"      {line}\n" for line in scene.last_words()), end="", flush=True)
    return mark == "✓"
