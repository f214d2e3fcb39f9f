"""The checks of the proxy's next start, by the preflight program."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core import gate_record, proxy, proxy_sockets
from agent.core.reasons import Fault, Reason
from agent.offline import preflight
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry
from tests.core.test_proxy_carried import SETTINGS
from tests.offline import test_identity_gate
from tests.offline.test_identity_gate import DOMAIN, ID, PROXY, ROOT, served

BECOME = """\
import encodings.utf_8_sig, os, sys
from agent.offline import preflight
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
sys.exit(preflight.main(sys.argv[1:]))
"""
VERSION, OTHER = "2.366.0", "2.367.0"
gate_host = test_identity_gate.host


@pytest.fixture
def host(gate_host: Path) -> Iterator[Path]:
    """With a control plane by address, and a binary that refuses an empty environment."""
    path = gate_host / "etc/fairlead/fairlead.toml"
    lines = path.read_text().splitlines()
    at = lines.index("[control_plane]")
    lines[at + 1 : at + 1] = ['destination = "127.0.0.1:1"', 'policy = "127.0.0.1:1"']
    path.write_text("\n".join(lines))
    binary(gate_host, VERSION, "#!/bin/sh\nexit 64\n")
    (gate_host / "var/lib/fairlead/proxy/current").symlink_to(VERSION)
    yield gate_host


def binary(host: Path, version: str, text: str, mode: int = 0o755) -> None:
    path = host / f"var/lib/fairlead/proxy/{version}/linkerd2-proxy"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def files(host: Path) -> list[Path]:
    return sorted(host.rglob("*"))


async def proved(host: Path, *version: str, uid: int = PROXY) -> Fault | None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BECOME.format(uid=uid), str(host), *version),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return gate_record.told(said.decode(), "it said nothing")


async def test_a_start_that_would_work_is_proved_and_nothing_is_written(root: None, host: Path) -> None:
    async with served(host, Entry(ID)):
        before = files(host)
        assert await proved(host) is None
        assert files(host) == before


async def test_what_this_user_does_not_get_is_a_missing_entry(root: None, host: Path) -> None:
    async with served(host) as server:
        server.register(0, Entry(ID))
        found = await proved(host)
    assert found is not None and found.reason is Reason.PROXY_IDENTITY_MISSING
    assert "create a registration entry" in found.way_out


async def test_anchors_that_do_not_cover_the_svid(root: None, host: Path) -> None:
    async with served(host, Entry(ID), trusted=Authority(DOMAIN)):
        found = await proved(host)
    assert found is not None and found.reason is Reason.IDENTITY_UNTRUSTED


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda host: (host / "anchors.pem").unlink(), Reason.TRUST_ANCHORS_UNUSABLE),
        (lambda host: (host / "anchors.pem").write_text("garbage"), Reason.TRUST_ANCHORS_UNUSABLE),
        (lambda host: (host / "etc/fairlead/fairlead.toml").write_text("["), Reason.CONFIGURATION_UNUSABLE),
        (lambda host: (host / "etc/fairlead/fairlead.toml").unlink(), Reason.CONFIGURATION_UNUSABLE),
        (lambda host: (host / "agent.sock").unlink(), Reason.WORKLOAD_API_ABSENT),
    ],
)
async def test_what_is_missing_or_damaged_is_named(
    root: None, host: Path, damage: Callable[[Path], object], reason: Reason
) -> None:
    async with served(host, Entry(ID)):
        damage(host)
        found = await proved(host)
    assert found is not None and found.reason is reason


async def test_the_binary_is_that_of_the_version_that_is_asked_for(root: None, host: Path) -> None:
    async with served(host, Entry(ID)):
        for text, mode in (("#!/bin/sh\nexit 0\n", 0o755), ("no program", 0o755), ("#!/bin/sh\n", 0o644)):
            binary(host, OTHER, text, mode)
            found = await proved(host, OTHER)
            assert found is not None and found.reason is Reason.PROXY_BINARY_UNUSABLE, text
        found = await proved(host, "2.400.0")
        assert found is not None and found.reason is Reason.PROXY_BINARY_UNUSABLE, "there is none"
        assert await proved(host) is None


async def test_a_name_that_nobody_knows() -> None:
    async def resolve(host: str, port: int) -> object:
        if "policy" in host:
            raise OSError(-2, "Name or service not known")
        return []

    found = await preflight.resolve_names(SETTINGS, resolve)
    assert found == Fault(
        Reason.CONTROL_PLANE_UNRESOLVED, "linkerd-policy.linkerd.svc.cluster.local.: Name or service not known"
    )


@pytest.mark.parametrize(
    ("listener", "owner", "free"),
    [
        (("0.0.0.0", 4143), 2102, True),  # the proxy that runs
        (("0.0.0.0", 4143), 0, False),
        (("192.0.2.7", 4143), 1000, False),
        (("::", 4140), 1000, False),
        (("192.0.2.7", 4140), 1000, True),
        (("127.0.0.1", 4191), 1000, False),
        (("0.0.0.0", 8080), 1000, True),
    ],
)
def test_a_port_that_another_user_holds(listener: proxy.Listener, owner: int, free: bool) -> None:
    found = proxy_sockets.taken(SETTINGS, {listener: owner}, 2102)
    assert (found is None) is free
    assert found is None or found.reason is Reason.PROXY_PORT_TAKEN


@pytest.mark.parametrize("said", ["", "nonsense", json.dumps({"ok": False}), '{"reason": "NoSuch", "detail": ""}'])
def test_a_preflight_that_says_nothing_has_proved_nothing(said: str) -> None:
    assert gate_record.told(said, "exit 1") == Fault(Reason.PROXY_UNIT_FAILED, "exit 1")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main([]) == preflight.USAGE
    assert "usage:" in capsys.readouterr().err
