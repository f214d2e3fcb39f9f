"""The start of the proxy at once: it judges as the gate does, and whatever keeps a start waiting is the gate's."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.anchors import Places
from agent.core import prepared as forms
from agent.core.crashes import written
from agent.core.prepared import Plan
from agent.host import Host
from agent.offline import gate
from agent.proxyunit import at_once, crash_count, prepared
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer

ROOT = Path(__file__).parents[2]
DOMAIN = "root.linkerd.cluster.local"
ID = f"spiffe://{DOMAIN}/db-1"
PROXY = 2102
OTHERS = Authority(DOMAIN).pem


@pytest.fixture
def host() -> Iterator[Path]:
    """A prefix where every user may look."""
    prefix = Path(tempfile.mkdtemp(prefix="fairlead-start-"))
    prefix.chmod(0o755)
    (prefix / "run/fairlead-proxy").mkdir(parents=True)
    os.chown(prefix / "run/fairlead-proxy", PROXY, PROXY)
    yield prefix
    shutil.rmtree(prefix)


@asynccontextmanager
async def served(host: Path, *entries: Entry) -> AsyncIterator[str]:
    """The trust anchors of what these users get."""
    authority = Authority(DOMAIN)
    async with WorkloadApiServer(host / "agent.sock", authority, dict.fromkeys((os.getuid(), PROXY), entries)):
        yield authority.pem


def plan(host: Path, anchors: str, hint: str = "", binary: str = "/bin/true", uid: int = PROXY) -> Plan:
    environment = {"LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS": anchors}
    sources = {binary: prepared.identity(binary)}
    return Plan(uid, binary, environment, sources, workload_api=str(host / "agent.sock"), spiffe_id=ID, hint=hint)


async def both(host: Path, anchors: str, hint: str = "") -> tuple[bool, bool]:
    """Whether the gate is open, and whether a start goes on."""
    (host / "anchors.pem").write_text(anchors)
    places = Places((host / "anchors.pem",), host / "kept.pem")
    fault = await gate.look(gate.Gate(str(host / "agent.sock"), ID, hint, places))
    return fault is None, await asyncio.to_thread(at_once.has_identity, plan(host, anchors, hint))


@pytest.mark.parametrize(
    ("entries", "hint", "anchors", "opens"),
    [
        pytest.param([Entry(ID)], "", None, True, id="usable"),
        pytest.param([Entry(f"{ID}-other"), Entry(ID)], "", None, True, id="one of two"),
        pytest.param([], "", None, False, id="no entry"),
        pytest.param([Entry(f"{ID}-other")], "", None, False, id="another's"),
        pytest.param([Entry(ID, key_type="rsa-2048")], "", None, False, id="RSA"),
        pytest.param([Entry(f"spiffe://{DOMAIN}/{'x' * 230}")], "", None, False, id="too long"),
        pytest.param([Entry(ID)], "db", None, False, id="another hint"),
        pytest.param([Entry(ID)], "", OTHERS, False, id="not covered by the anchors"),
        pytest.param([Entry(ID)], "", "garbage", False, id="no anchors"),
    ],
)
async def test_it_judges_as_the_gate(
    host: Path, entries: list[Entry], hint: str, anchors: str | None, opens: bool
) -> None:
    async with served(host, *entries) as pem:
        assert await both(host, pem if anchors is None else anchors, hint) == (opens, opens)


async def test_without_a_workload_api_nothing_is_started_at_once(host: Path) -> None:
    assert await both(host, OTHERS) == (False, False)


# as a program ---------------------------------------------------------------------------------------

_PROGRAM = """\
import os, sys
import agent.proxyunit.at_once
from agent.proxyunit import start
start._tested_path = lambda prefix, folder: print("tested") or 0
os.setgroups([]); os.setgid({0}); os.setuid({0})
sys.exit(start.main(sys.argv[1]))
"""
_BECOMES = "#!/bin/sh\ncat /proc/$$/comm\nenv\n"


def leave(host: Path, found: Plan) -> None:
    folder = Host(host).prepared
    folder.mkdir(parents=True, exist_ok=True)
    (folder / forms.PLAN).write_text(forms.written(found))


async def started(host: Path) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM.format(PROXY), str(host)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "RUNTIME_DIRECTORY": str(Host(host).proxy_run)},
    )
    said, _ = await process.communicate()
    return said.decode().splitlines()


def program(host: Path) -> str:
    path = host / "linkerd2-proxy"
    path.write_text(_BECOMES)
    path.chmod(0o755)
    return str(path)


async def test_it_becomes_the_proxy_by_the_plan(root: None, host: Path) -> None:
    record, starts = Host(host).gate, Host(host).proxy_run / crash_count.STARTS
    record.write_text("{}")  # of an earlier start
    async with served(host, Entry(ID)) as pem:
        leave(host, plan(host, pem, binary=program(host)))
        said, name, *environment = await started(host)
    assert said == f"usable: {ID} (prepared)"
    assert name == "linkerd2-proxy", "its own name, by which the agent tells it from a start that waits"
    assert environment[0].startswith("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS=")
    assert not any(line.startswith("PYTHON") for line in environment), "root's environment alone"
    assert not record.exists()
    assert starts.read_text().startswith("0 ")


def crashed(host: Path) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    (Host(host).proxy_run / crash_count.STARTS).write_text(written(1, now - 2))
    (Host(host).prepared / forms.ENDED).write_text(f"{now - 1} signal killed KILL\n")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(crashed, id="it crashed twice"),
        pytest.param(lambda host: (Host(host).prepared / forms.PLAN).unlink(), id="no plan"),
        pytest.param(lambda host: (Host(host).prepared / forms.PLAN).chmod(0o666), id="written by others"),
        pytest.param(lambda host: (host / "linkerd2-proxy").write_text("#!/bin/sh\n"), id="another binary"),
        pytest.param(lambda host: leave(host, plan(host, OTHERS)), id="other anchors"),
        pytest.param(lambda host: leave(host, plan(host, OTHERS, uid=PROXY + 1)), id="another user"),
    ],
)
async def test_anything_else_is_for_gate_and_launcher(
    root: None, host: Path, change: Callable[[Path], object]
) -> None:
    async with served(host, Entry(ID)) as pem:
        leave(host, plan(host, pem, binary=program(host)))
        change(host)
        assert await started(host) == ["tested"]


async def test_in_token_mode_the_gate_makes_the_key(root: None, host: Path) -> None:
    async with served(host, Entry(ID)) as pem:
        found = plan(host, pem, binary=program(host))
        found.workload_api = ""
        leave(host, found)
        assert await started(host) == ["tested"]
