"""The checks of identity, each with a real passing and a real failing situation."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from agent.cli.kit.exits import Exit
from agent.core.doctor import host_checks
from agent.core.doctor.check import Result
from agent.core.reasons import Reason
from agent.offline.doctor import main, readings, sources
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry
from tests.offline.doctor.conftest import AGENT, api_server, patient
from tests.offline.test_identity_gate import DOMAIN, ID, PROXY, ROOT

OTHER = f"spiffe://{DOMAIN}/db-2"
IDENTITY = ("agent-identity", "proxy-identity", "trust", "workload-api")


def files(host: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(host.rglob("*"))}


def chmod(path: Path, mode: int) -> None:
    path.chmod(mode)


def test_each_check_of_the_registry_has_a_reading() -> None:
    assert {*readings.of_host(sources.Sources(""))} == {check.name for check in host_checks.HOST}


async def test_a_host_with_an_identity_passes_and_nothing_is_written(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one):
        before = files(host)
        found = await one.examined(*IDENTITY)
        assert not [each for each in found.values() if each.outcome.result is not Result.OK]
        assert files(host) == before


async def test_without_a_configuration_nothing_else_is_asked(root: None, tmp_path: Path) -> None:
    found = await main.examined(str(tmp_path), main.Wanted())
    assert {one.check.name for one in found if not one.behind} == {"configuration", "disk", "guide-rules"}
    assert found[0].outcome.result is Result.FAIL and Reason.CONFIGURATION_UNUSABLE in found[0].outcome.why


async def test_without_a_socket_only_that_is_named(root: None, host: Path) -> None:
    async with patient(host) as one:
        await one.workload_api.__aexit__(None, None, None)
        (host / "agent.sock").unlink(missing_ok=True)
        found = await one.examined(*IDENTITY)
        assert Reason.WORKLOAD_API_ABSENT in found["workload-api"].outcome.why
        assert {found[name].behind for name in ("agent-identity", "proxy-identity", "trust")} == {"workload-api"}


async def test_a_folder_that_keeps_the_proxy_out_is_named(root: None, host: Path) -> None:
    async with patient(host) as one:
        chmod(host, 0o700)
        try:
            found = await one.examined("workload-api")
        finally:
            chmod(host, 0o755)
        outcome = found["workload-api"].outcome
        assert f"{host} keeps {PROXY} from" in outcome.why and outcome.fix.startswith(f"chmod o+x {host}")


async def test_another_id_is_named_with_the_one_that_is_there(root: None, host: Path) -> None:
    async with patient(host, agent=(Entry(OTHER),), proxy=(Entry(OTHER),)) as one:
        found = await one.examined(*IDENTITY)
        assert f"{ID} is not among the SVIDs: {OTHER}" in found["agent-identity"].outcome.why
        assert found["agent-identity"].outcome.result is Result.FAIL


async def test_an_entry_for_the_agent_alone_is_told_apart(root: None, host: Path) -> None:
    async with patient(host, proxy=()) as one:
        found = await one.examined(*IDENTITY)
        assert found["agent-identity"].outcome.result is Result.OK
        assert f"uid {PROXY}" in found["proxy-identity"].outcome.why
        assert f"-spiffeID {ID} -selector unix:uid:{PROXY}" in found["proxy-identity"].outcome.fix
        assert found["trust"].behind == "proxy-identity"


async def test_anchors_that_do_not_cover_the_svid_are_named(root: None, host: Path) -> None:
    async with patient(host) as one:
        (host / "anchors.pem").write_text(Authority(DOMAIN).pem)
        found = await one.examined(*IDENTITY)
        assert found["proxy-identity"].outcome.result is Result.OK
        assert Reason.IDENTITY_UNTRUSTED in found["trust"].outcome.why


async def test_anchors_without_a_certificate_are_named(root: None, host: Path) -> None:
    async with patient(host) as one:
        (host / "anchors.pem").write_text("nothing")
        found = await one.examined("trust", "trust-anchors")
        assert Reason.TRUST_ANCHORS_UNUSABLE in found["trust-anchors"].outcome.why
        assert found["trust"].behind == "trust-anchors"


async def test_the_clock_is_compared_with_the_api_servers(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one):
        assert (await one.examined("clock"))["clock"].outcome.why == "as the API server's, within 5 s"


async def test_a_workload_api_that_hangs_delays_nothing_else(root: None, host: Path) -> None:
    async with patient(host) as one:
        await one.workload_api.__aexit__(None, None, None)
        (host / "agent.sock").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(host / "agent.sock"))
            deaf.listen()
            (host / "agent.sock").chmod(0o777)
            found = await one.examined(*IDENTITY, "trust-anchors", each=0.5)
        assert found["agent-identity"].outcome.result is Result.UNKNOWN
        assert found["trust-anchors"].outcome.result is Result.OK


# the verb ------------------------------------------------------------------------------------------


def run(*words: str, uid: int = AGENT) -> tuple[int, str]:
    modules = "encodings.utf_8_sig, os, shutil, sys, agent.cli.doctor, agent.offline.doctor.before_join"
    become = f"import {modules}; from agent.cli import main; os.setuid({uid}); "
    done = subprocess.run(
        [sys.executable, "-c", become + "sys.exit(main.main(sys.argv[1:]))", "doctor", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    return done.returncode, done.stdout + done.stderr


def test_a_failure_is_exit_2_with_its_fix(root: None, host: Path) -> None:
    code, output = run("--prefix", str(host), "workload-api")
    assert code == 2
    assert "✗ workload-api" in output and "→ start the SPIRE agent" in output


def test_the_json_has_a_schema_and_every_check(root: None, host: Path) -> None:
    code, output = run("--prefix", str(host), "--json", "trust")
    found = json.loads(output)
    assert code == 2 and found["schema"] == 1
    assert {one["name"]: one["behind"] for one in found["checks"]}["trust"] == "workload-api"


async def test_what_only_root_can_ask_is_skipped_for_others(root: None, host: Path) -> None:
    async with patient(host):
        code, output = await asyncio.to_thread(run, "--prefix", str(host), "--json", "proxy-identity", uid=65534)
    found = {one["name"]: one for one in json.loads(output)["checks"]}
    assert found["configuration"]["result"] == found["workload-api"]["result"] == "ok", output
    assert found["proxy-identity"]["result"] == "skipped" and "needs root" in found["proxy-identity"]["why"]
    assert code == 0


def test_the_list_names_every_check() -> None:
    code, output = run("--list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == [check.name for check in host_checks.HOST]


def test_an_unknown_check_has_a_suggestion() -> None:
    code, output = run("clok")
    assert code == Exit.USAGE and "did you mean clock?" in output
