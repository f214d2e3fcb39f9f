"""`fairlead join BUNDLE` of a host that does not become Ready in time: exit code 75, and what comes after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.stage import network, scene
from agent.sandbox.stage.scene import NAME, NAMESPACE, PORT
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system.host import SUITES, install
from tests.system.mesh import HOST, READY, WITHIN, Mesh
from tests.system.test_join import BUNDLE, bundle

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
PATIENCE = "20"  # seconds


@dataclass(frozen=True)
class Missing:
    """What keeps a host from Ready, and how an operator brings it. `said`: the reason as people read it."""

    take: Callable[[Machine, Mesh], None]
    bring: Callable[[Machine, Mesh], None]
    said: str


def no_object(machine: Machine, mesh: Mesh) -> None:
    beside_it.entitle(machine, mesh)
    for kind in (EXTERNAL_WORKLOADS, LEASES):
        mesh.call(mesh.api.delete, kind, NAMESPACE, NAME)


def enrol(machine: Machine, mesh: Mesh) -> None:
    mesh.call(mesh.api.create, scene.external_workload(NAME, network.FIRST.addresses))
    mesh.call(mesh.api.create, scene.lease(NAME))


CAUSES = {
    "no ExternalWorkload": Missing(no_object, enrol, "there is no such ExternalWorkload"),
    "no SVID": Missing(lambda _, __: None, beside_it.entitle, "the Workload API has no identity for this caller"),
}


def redirect(machine: Machine) -> str:
    found = json.loads(machine.run("fairlead", "redirect", "show", "--json"))
    return "on trial" if found["trial"] is not None else "suspended" if found["suspended"] else "kept"


@pytest.mark.parametrize("reverted", [False, True], ids=["during the trial", "after the redirect was reverted"])
@pytest.mark.parametrize("cause", CAUSES)
def test_a_join_that_is_late_says_why_and_is_run_again(cause: str, reverted: bool) -> None:
    missing = CAUSES[cause]
    with beside_it.beside(SUITES[0]) as (machine, mesh):
        install(machine)
        beside_it.install_proxy(machine)
        machine.write(BUNDLE, bundle(mesh, PORT).text)
        missing.take(machine, mesh)
        with mesh.under_load() as load:
            late = machine.try_run("fairlead", "join", BUNDLE, "--yes", "--timeout", PATIENCE, within=180)
            assert late.returncode == 75, late.stdout + late.stderr
            last = late.stderr.strip().splitlines()[-2:]
            assert last[0].startswith("fairlead: cannot join the mesh in time: ") and missing.said in last[0], last
            assert "fairlead status --watch" in last[1] and "run this command again" in last[1]
            assert redirect(machine) == "on trial"
            if reverted:
                machine.wait_until(lambda: redirect(machine) == "suspended", "the redirect is reverted", WITHIN)
            missing.bring(machine, mesh)
            said = machine.run("fairlead", "join", BUNDLE, "--yes", within=180)
            assert mesh.ready() == READY and "nothing differs" in said, said
            mesh.do(load.reached(load.sent + 20))
        assert load.failed == [], "the application was reached throughout"
        assert mesh.asked() == HOST, "through the proxy"
        assert redirect(machine) == "kept"
