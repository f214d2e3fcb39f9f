"""Failing situations of the checks that no other test breaks: made with the kernel, real processes and objects."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.core.doctor import machine
from agent.core.doctor.check import Result
from agent.core.reasons import Reason
from agent.host import Host
from agent.offline.doctor import readings, sources
from agent.sandbox.api.server import LEASES
from agent.sandbox.stage.scene import external_workload, lease
from tests.offline.doctor.conftest import api_server, by_token, examined, patient, set_key
from tests.offline.doctor.test_doctor_identity import run
from tests.offline.doctor.test_doctor_machine import answering
from tests.offline.test_identity_gate import ROOT

NOBODY = 65534


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, env={**os.environ})


@contextmanager
def small(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=1m", "none", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True, env={**os.environ})


async def test_a_file_system_that_is_full_or_read_only_fails(root: None, host: Path) -> None:
    place = Host(host).state
    with small(place):
        full = (await examined(host, "disk"))["disk"].outcome
        mount("-o", "remount,ro", str(place))
        read_only = (await examined(host, "disk"))["disk"].outcome
    assert full.result is Result.FAIL and f"{place} has 1 MiB" in full.why and "df -hi" in full.fix
    assert read_only.result is Result.FAIL and "mounted read-only" in read_only.why


def alone(host: Path, before: str, *checks: str) -> dict[str, dict[str, str]]:
    """The findings in a network namespace without an interface but lo, after some lines of Python."""
    code = (
        f"import socket, subprocess, sys\n{before}\nfrom agent.cli import main\nsys.exit(main.main(sys.argv[1:]))"
    )
    words = ("doctor", "--prefix", str(host), "--timeout", "60", "--json", *checks)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def test_a_host_without_a_route_to_the_pods_fails(root: None, host: Path) -> None:
    set_key(host, "cluster_networks", '["10.42.0.0/16"]')
    found = alone(host, "", "pod-routes")["pod-routes"]
    assert found["result"] == "fail" and found["why"].startswith("no route to 10.42.0.0/16"), found
    assert found["fix"].startswith("ip route add 10.42.0.0/16")


_TAKEN = """
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listener = socket.create_server(("127.0.0.1", 4191))
"""


def test_a_port_of_the_proxy_that_another_user_has_fails(root: None, host: Path) -> None:
    assert alone(host, "", "proxy-ports")["proxy-ports"]["result"] == "ok"
    found = alone(host, _TAKEN, "proxy-ports")["proxy-ports"]
    assert found["result"] == "fail" and "4191" in found["why"] and Reason.PROXY_PORT_TAKEN in found["why"], found


_EVERYWHERE = """
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listener = socket.create_server(("0.0.0.0", 4143))
"""
_OTHERS = """
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "169.254.41.77/32", "dev", "lo"], check=True)
"""


def test_what_leaves_no_place_to_a_second_proxy_is_named(root: None, host: Path) -> None:
    set_key(host, "slots", "true")
    set_key(host, "addresses", '["192.0.2.10"]')
    found = alone(host, "", "replacement")["replacement"]
    assert found["result"] == "ok" and "without a drain" in found["why"], found
    for before, why in ((_EVERYWHERE, "a process of uid 0 listens"), (_OTHERS, "lo has 169.254.41.77")):
        found = alone(host, before, "replacement")["replacement"]
        assert found["result"] == "warn" and why in found["why"] and found["fix"], found


_CONNECTED = """
for words in (
    "link set lo up",
    "link add v0 type veth peer name v1",
    "address add 10.42.7.1/24 dev v0",
    "link set v0 up",
    "link set v1 up",
):
    subprocess.run(["ip", *words.split()], check=True)
"""


def test_a_network_that_contains_a_connected_one_is_refused(root: None, host: Path) -> None:
    set_key(host, "outbound_networks", '["10.42.0.0/16"]')
    found = alone(host, _CONNECTED, "redirect")["redirect"]
    assert found["result"] == "fail" and "10.42.7.0/24" in found["why"], found


def test_a_privileged_helper_without_a_socket_fails(root: None, host: Path) -> None:
    code, output = run("--prefix", str(host), "--timeout", "60", "--json", "helper", uid=NOBODY)
    found = {one["name"]: one for one in json.loads(output)["checks"]}["helper"]
    assert code == 2 and found["result"] == "fail" and "cannot reach the privileged helper" in found["why"]


async def test_a_lease_of_another_machine_fails(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        by_token(host)
        (host / "etc/machine-id").write_text("0" * 31 + "1\n")
        server.create(external_workload("db-1", ["192.0.2.10"], 5432))
        server.create(lease("db-1"))
        assert (await one.examined("lease"))["lease"].outcome.result is Result.OK
        server.delete(LEASES, "shop", "db-1")
        other = lease("db-1")
        other["metadata"]["annotations"] = {"fairlead.dev/machine": "another"}
        server.create(other)
        outcome = (await one.examined("lease"))["lease"].outcome
    assert outcome.result is Result.FAIL and Reason.MACHINE_DIFFERS in outcome.why


_FULL = """
import sys
kept = []
try:
    while True:
        kept.append(open("/dev/null"))
except OSError:
    print("full", flush=True)
sys.stdin.read()
"""


@contextmanager
def without_descriptors() -> Iterator[int]:
    """The pid of a process that has all the files open that it may."""
    with subprocess.Popen(
        [sys.executable, "-c", _FULL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    ) as process:
        assert process.stdout and process.stdout.readline() == b"full\n"
        yield process.pid
        process.communicate()


async def test_a_proxy_without_descriptors_left_fails(root: None, host: Path) -> None:
    with without_descriptors() as pid:
        async with patient(host), answering(host, facts={"proxy": {"process": {"pid": pid}}}):
            outcome = (await examined(host, "limits"))["limits"].outcome
    assert outcome.result is Result.FAIL and "descriptors of the proxy: 64 of 64" in outcome.why
    assert "LimitNOFILE=" in outcome.fix


PROBLEM = {"severity": "fault", "reason": "ProbeFailing", "text": "it fails", "detail": "", "remedy": "start it"}


async def test_what_the_agent_names_is_repeated(root: None, host: Path) -> None:
    """Without the checks before it, which fail here."""
    async with (
        patient(host),
        answering(host, ready={"status": "False"}, problems=[PROBLEM]),
        sources.opened(str(host)) as found,
    ):
        outcome = machine.ready(await readings.of_host(found)["ready"]())
    assert outcome.result is Result.FAIL
    assert (outcome.why, outcome.fix) == ("it fails [ProbeFailing]", "start it")
