"""From `fairlead enrol` to `fairlead join`, and what the host may then do, at a real kube-apiserver by JWT-SVID.

The service is not started here; tests/system does that on a booted machine.
"""

import asyncio
import hashlib
import json
import os
import random
import tempfile
import time
from pathlib import Path

import pytest

from agent.adapters.kube import KubeApi
from agent.adapters.kube.jwt_svid import JwtSvid
from agent.config import Config, derived, parse
from agent.core.enrol import bundle
from agent.core.facts import Workload
from agent.core.reasons import Reason
from agent.host import clocks
from agent.ports import Lease, Trouble
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.cluster.operator import NAME, Done, Operator, new_address, run
from tests.contract.jwt_worlds import AUDIENCE, DOMAIN, Issuer
from tests.contract.status_worlds import condition
from tests.lab.realparts import ApiServer

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
SETTLED = 30.0  # seconds within which rights are in force


@pytest.fixture
def operator(issuing: tuple[Issuer, ApiServer], tmp_path: Path) -> Operator:
    made = Operator(issuing[1], tmp_path)
    made.install_linkerd()
    assert made.enrol().code == 0
    return made


class JoiningHost:
    """Its files are below a prefix."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "host"
        self.etc = self.prefix / "etc/fairlead"
        self.file = self.etc / "fairlead.toml"

    def join(self, bundle: Path, *words: str) -> Done:
        return run("join", str(bundle), "--prefix", str(self.prefix), "--yes", "--no-start", *words)

    @property
    def config(self) -> Config:
        return parse(self.file.read_text())


@pytest.fixture
def host(tmp_path: Path) -> JoiningHost:
    return JoiningHost(tmp_path)


async def test_two_commands_give_a_host_that_reports_itself(
    operator: Operator, host: JoiningHost, issuing: tuple[Issuer, ApiServer], tmp_path: Path
) -> None:
    done = await asyncio.to_thread(host.join, operator.bundle())
    assert done.code == 0, done.err
    config = host.config
    assert config.workload.identity == operator.identity and config.workload.opaque_ports == (3306,)
    me = derived.api_identity(config)
    socket = tmp_path / "agent.sock"
    entries = {os.geteuid(): (Entry(operator.identity), Entry(me))}
    async with WorkloadApiServer(socket, Authority(DOMAIN), entries, jwt=issuing[0].keys):
        ca, audience = str(host.etc / "api-ca.pem"), config.api.audience
        assert audience == AUDIENCE
        credential = JwtSvid(config.api.server, ca, str(socket), audience, me, time.time, random.random)
        api = KubeApi(credential, namespace=config.workload.namespace, name=config.workload.name)
        try:
            workload = await _in_force(api)
            assert workload.addresses == (operator.address,)
            assert (await api.patch_conditions(workload, (condition(),))).ready == "True"
            renewed = await api.renew_lease(Lease(holder=NAME, renew_time=clocks.exact_wall(), duration=60))
            assert (renewed.holder, renewed.annotations["fairlead.dev/host"]) == (NAME, me)
        finally:
            await api.close()


async def _in_force(api: KubeApi) -> Workload:
    async with asyncio.timeout(SETTLED):
        while True:
            try:
                return await api.read()
            except Trouble as trouble:
                assert trouble.reason is Reason.API_FORBIDDEN, trouble
            await asyncio.sleep(0.05)


def test_the_doctor_checks_a_host_before_it_joins(operator: Operator, host: JoiningHost) -> None:
    """With the files that the bundle brings; nothing is left, and the host stays as it is."""
    before = set(Path(tempfile.gettempdir()).glob("fairlead-doctor-*"))
    words = ("--json", "--timeout", "30", "clock", "trust-anchors", "agent-identity", "agent")
    done = run("doctor", "--bundle", str(operator.bundle()), "--prefix", str(host.prefix), *words)
    found = {one["name"]: one for one in json.loads(done.out)["checks"]}
    assert done.code == 2, done.out
    assert found["configuration"]["result"] == found["trust-anchors"]["result"] == "ok", found
    assert found["clock"]["result"] == "ok", found["clock"]
    assert found["agent-identity"]["behind"] == "workload-api"
    assert found["agent"]["why"] == "this host has not joined a mesh"
    assert not host.prefix.exists()
    assert set(Path(tempfile.gettempdir()).glob("fairlead-doctor-*")) == before


def test_a_second_join_changes_nothing(operator: Operator, host: JoiningHost) -> None:
    host.join(operator.bundle())
    before = {path: path.stat().st_mtime_ns for path in host.etc.iterdir()}
    again = host.join(operator.bundle())
    assert again.code == 0 and "nothing differs" in again.out
    assert {path: path.stat().st_mtime_ns for path in host.etc.iterdir()} == before


def test_what_a_person_set_stays(operator: Operator, host: JoiningHost) -> None:
    host.join(operator.bundle())
    mine = (
        host.file.read_text().replace("[host]", "# mine\n[host]\naddress_translated = true")
        + "\n[drain]\nsettle = 9\n"
    )
    host.file.write_text(mine)
    assert "nothing differs" in host.join(operator.bundle()).out
    assert host.file.read_text() == mine
    host.file.write_text(mine.replace("5432", "5433"))
    kept = host.join(operator.bundle())
    assert kept.code == 0 and "5433" in host.file.read_text(), "the bundle asks for nothing new"
    assert operator.enrol("--port", "6000").code == 0
    refused = host.join(operator.bundle())
    assert (
        refused.code == 64 and "workload.ports is [5433, 3306] here" in refused.err and "--replace" in refused.err
    )
    assert "5433" in host.file.read_text()
    replaced = host.join(operator.bundle(), "--replace")
    assert replaced.code == 0, replaced.err
    assert host.config.workload.ports == (5432, 3306, 6000)
    assert (host.config.drain.settle, host.config.host.address_translated) == (9, True), "no key of the bundle"
    assert "# mine" in (host.etc / "fairlead.toml.before-join").read_text()


def test_a_configuration_by_hand_is_not_overwritten(operator: Operator, host: JoiningHost) -> None:
    host.etc.mkdir(parents=True)
    (host.etc / "trust-anchors.pem").write_text("mine")
    refused = host.join(operator.bundle())
    assert refused.code == 64 and "trust-anchors.pem was written by hand" in refused.err
    assert not host.file.exists() and (host.etc / "trust-anchors.pem").read_text() == "mine"


def test_a_newer_bundle_updates_what_the_last_one_set(operator: Operator, host: JoiningHost) -> None:
    host.join(operator.bundle())
    assert operator.enrol("--port", "6000").code == 0
    done = host.join(operator.bundle())
    assert done.code == 0 and "workload.ports: [5432, 3306] → [5432, 3306, 6000]" in done.out, done.err


def test_each_bad_bundle_has_its_error(operator: Operator, host: JoiningHost, tmp_path: Path) -> None:
    text = operator.bundle().read_text()
    made = bundle.read(text)
    newer = {**made.body, "version": 2}
    commands = {**made.body, "config": {**made.config, "probe": [{"name": "x", "kind": "exec"}]}}
    users = {**made.body, "config": {**made.config, "proxy": {"user": "root"}}}
    for bad, said in (
        (text[: len(text) // 2], "it is cut off"),
        (text.replace(operator.address, "203.0.113.9"), "it was altered"),
        ("{}", "it is not a join bundle"),
        (_signed(newer), "it is of version 2"),
        (_signed(commands), "it sets probe"),
        (_signed(users), "it sets proxy.user"),
    ):
        file = tmp_path / "bad"
        file.write_text(bad)
        done = host.join(file)
        assert (done.code, said in done.err) == (64, True), (said, done.err)
    assert not host.file.exists()
    assert host.join(operator.bundle(), "--fingerprint", "0" * 64).code == 64
    assert host.join(operator.bundle(), "--fingerprint", made.fingerprint).code == 0


def _signed(body: dict[str, object]) -> str:
    """With a SHA-256 that fits, as a program that is not fairlead's could make it."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return f"{bundle.FIRST}\n{json.dumps(body)}\n{bundle.LAST}{digest}\n"


def test_a_bundle_of_another_host_or_time_is_refused(
    operator: Operator, host: JoiningHost, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.write_text(operator.bundle().read_text())
    assert operator.enrol("--port", "6000").code == 0
    host.join(operator.bundle())
    late = host.join(old)
    assert late.code == 1 and "before the one with which this host joined" in late.err
    assert operator.enrol(name="db-2", address=new_address()).code == 0
    other = host.join(operator.bundle("db-2"))
    label = f"the bundle is for {operator.namespace}/db-2, and this host is {operator.namespace}/{NAME}"
    assert other.code == 1 and label in other.err, other.err
