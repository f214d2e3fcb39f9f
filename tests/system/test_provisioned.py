"""The examples of docs/enrolment.md for many hosts, by the real cloud-init and the real Ansible."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.sandbox.stage.scene import NAME, PORT
from tests.lab import proxy_deliveries
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system import real_cluster
from tests.system.built_packages import ROOT
from tests.system.host import install
from tests.system.mesh import AGENT, CLUSTER, HOST, READY, Mesh
from tests.system.test_join import bundle

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
SUITE = "bookworm-provisioned"
SEED, RELEASE = "/var/lib/cloud/seed/nocloud", "/opt/linkerd2-proxy.tar.gz"
# The wire has its address already. Of cloud-init's modules those that the example uses.
SETTINGS = """\
network: {config: disabled}
datasource_list: [NoCloud, None]
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
"""
LONG = 300.0  # seconds


def example(begins: str) -> str:
    """The block of the page that begins so."""
    page = (ROOT / "docs/enrolment.md").read_text()
    blocks = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if text.startswith(begins)]
    assert len(blocks) == 1
    return str(blocks[0])


def put_release(machine: Machine) -> str:
    """As the image of a host has it; its hash."""
    with tempfile.TemporaryDirectory() as folder:
        file, digest = proxy_deliveries.release(Path(folder), binary=beside_it.PROXY_PROGRAM.encode())
        shutil.copy(file, machine.path(RELEASE))
    return digest


def served(machine: Machine, mesh: Mesh, ready: Callable[[], tuple[str, str]]) -> None:
    machine.wait_until(lambda: ready() == READY, f"{READY}", LONG)
    assert mesh.asked() == HOST, "through the proxy"
    shown = json.loads(machine.run("fairlead", "redirect", "show", "--json"))
    assert (shown["suspended"], shown["trial"]) == ("", None), "the redirect is kept"
    assert machine.show(AGENT, "UnitFileState") == {"UnitFileState": "enabled"}


def test_cloud_init_joins_a_host_at_its_first_boot() -> None:
    """The package, SPIRE's agent and the release are in the image, which has no seed before this boot."""
    with beside_it.beside(SUITE) as (machine, mesh):
        install(machine)
        beside_it.entitle(machine, mesh)
        data = example("#cloud-config").replace("DIGEST", put_release(machine))
        placeholder = "      # the output of: fairlead enrol NAME … --bundle -\n"
        assert placeholder in data
        data = data.replace(placeholder, textwrap.indent(bundle(mesh, PORT).text, "      "))
        machine.write(f"{SEED}/user-data", data, mode=0o600)
        machine.write(f"{SEED}/meta-data", "instance-id: machine-1\n")
        machine.write("/etc/cloud/cloud.cfg.d/99-test.cfg", SETTINGS)
        machine.reboot()
        told = machine.run("cloud-init", "status", "--wait", "--long", within=LONG)
        assert "status: done" in told, told + machine.journal()
        served(machine, mesh, mesh.ready)
        assert machine.path("/root/fairlead.bundle").stat().st_mode & 0o777 == 0o600


def test_the_play_enrols_and_joins_a_host_and_changes_nothing_when_it_is_run_again() -> None:
    """The machine is the host, and the one where kubectl works. Its API server is that of Kubernetes."""
    with beside_it.beside(SUITE) as (machine, mesh), real_cluster.beside(machine, mesh) as cluster:
        install(machine)
        beside_it.entitle(machine, mesh)
        beside_it.install_proxy(machine)
        machine.run("ip", "route", "add", "default", "via", CLUSTER)  # by which Ansible finds the host's address
        machine.write("/root/play/play.yaml", example("- hosts: databases"))
        machine.write("/root/play/inventory", f"[databases]\n{NAME} ansible_connection=local\n")
        first = play(machine)
        assert re.search(r"changed=1 +unreachable=0 +failed=0", first), first
        served(machine, mesh, cluster.ready)
        again = play(machine)
        assert re.search(r"changed=0 +unreachable=0 +failed=0", again), again


def play(machine: Machine, *words: str) -> str:
    setting = f"KUBECONFIG={real_cluster.KUBECONFIG}"
    files = ("-i", "/root/play/inventory", "/root/play/play.yaml")
    return machine.run("env", setting, "ansible-playbook", *files, *words, within=LONG)
