"""`kubectl fairlead`: the installed plugin under a real kubectl, found on PATH, with KUBECONFIG passed on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.operator import NAME, POD_NETWORK, USUAL, Operator
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
PLUGINS = Path(sys.executable).parent


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    made = Operator(real_apiserver, tmp_path)
    made.install_linkerd()
    return made


def kubectl(operator: Operator, *words: str) -> "subprocess.CompletedProcess[str]":
    path = f"{PLUGINS}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "KUBECONFIG": str(operator.kubeconfig), "HOME": str(operator.folder)}
    return subprocess.run(
        ["kubectl", *words], capture_output=True, text=True, timeout=120, env={**os.environ, **settings}
    )


def test_kubectl_finds_the_plugin(operator: Operator) -> None:
    assert str(PLUGINS / "kubectl-fairlead") in kubectl(operator, "plugin", "list").stdout


def test_an_operator_enrols_lists_and_checks_by_kubectl(operator: Operator) -> None:
    where = ("-n", operator.namespace, "--linkerd-namespace", operator.namespace)
    to = ("--pod-network", POD_NETWORK, "--api-server", operator.server.url, "--bundle", str(operator.bundle()))
    done = kubectl(operator, "fairlead", "enrol", NAME, "--address", operator.address, *USUAL, *to, *where)
    assert done.returncode == 0, done.stderr
    assert operator.has("externalworkloads") and operator.bundle().exists()
    seen = kubectl(operator, "get", "externalworkloads", "-n", operator.namespace, "-o", "name")
    assert seen.stdout.split() == [f"externalworkload.workload.linkerd.io/{NAME}"], seen
    listed = kubectl(operator, "fairlead", "list", "-n", operator.namespace, "-o", "json")
    assert listed.returncode == 0 and NAME in listed.stdout, listed
    checked = kubectl(operator, "fairlead", "check", NAME, *where, "--json")
    assert checked.returncode in (0, 2), checked
    assert f"{operator.namespace}/{NAME}" in json.loads(checked.stdout)["hosts"]


def test_its_exit_code_is_that_of_the_command(operator: Operator) -> None:
    done = kubectl(operator, "fairlead", "lisst")
    assert done.returncode == 2 and "did you mean list?" in done.stderr
