"""A bare host with the package joins by a bundle and is retired: on a booted Debian, beside a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from agent.core.enrol import joining
from agent.core.enrol.bundle import Bundle
from agent.core.enrol.joining import Choices
from agent.core.enrol.request import Host, Port
from agent.host import clocks
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.api.store import Place
from agent.sandbox.proxy import controllers
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import AUDIENCE, NAME, NAMESPACE, PORT, SERVER_NAME, TRUST_DOMAIN
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system import real_cluster
from tests.system.host import CONFIG, SUITES, active, dpkg, install
from tests.system.mesh import AGENT, API_PORT, CLUSTER, HOST, OTHER, PROXY, READY, WITHIN, Mesh, pid, rules
from tests.system.real_cluster import Cluster

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
BUNDLE = "/root/db-1.bundle"
STAGES: dict[str, Callable[[Machine], bool]] = {
    "the configuration": lambda machine: machine.path(CONFIG).exists(),
    "the redirect": lambda machine: bool(rules(machine)),
    "the agent": lambda machine: machine.show(AGENT, "ActiveState")["ActiveState"] != "inactive",
}


def bundle(mesh: Mesh, *ports: int) -> Bundle:
    """As `fairlead enrol` makes it of this mesh."""
    identity = f"spiffe://{TRUST_DOMAIN}/{NAME}"
    host = Host(NAME, NAMESPACE, network.FIRST.addresses, identity, SERVER_NAME, tuple(map(Port, ports)))
    made = joining.Mesh(
        *("linkerd", f"https://{CLUSTER}:{API_PORT}", mesh.authority.pem, mesh.authority.pem),
        *("cluster.local", "cluster.local", ()),
    )
    choices = Choices(
        pod_networks=(network.POD_NETWORK,),
        audience=AUDIENCE,
        workload_api="/opt/spire/api.sock",
        destination=f"{CLUSTER}:{controllers.DESTINATION_PORT}",
        policy=f"{CLUSTER}:{controllers.POLICY_PORT}",
    )
    return joining.bundle(host, made, choices, clocks.exact_wall())


def test_a_bare_host_joins_with_a_bundle_and_is_retired() -> None:
    with beside_it.beside(SUITES[0]) as (machine, mesh):
        install(machine)
        beside_it.entitle(machine, mesh)
        made = bundle(mesh, PORT)
        machine.write(BUNDLE, made.text)
        it_is_refused_without_a_proxy(machine)
        beside_it.install_proxy(machine)
        it_joins(machine, mesh, made)
        it_joins_again(machine, mesh)
        it_is_retired(machine, mesh)
        it_is_purged(machine)
        with real_cluster.beside(machine, mesh) as cluster:
            it_goes_through_a_real_cluster(machine, mesh, cluster)


@pytest.mark.parametrize("stage", STAGES)
def test_a_join_that_is_broken_off_is_completed_by_the_next(stage: str) -> None:
    """Killed once the configuration, the redirect or the agent is there. The application is reached throughout."""
    with beside_it.beside(SUITES[0]) as (machine, mesh):
        install(machine)
        beside_it.entitle(machine, mesh)
        beside_it.install_proxy(machine)
        machine.write(BUNDLE, bundle(mesh, PORT).text)
        with mesh.under_load() as load:
            machine.run("systemd-run", "--unit=joining", "fairlead", "join", BUNDLE, "--yes")
            machine.wait_until(lambda: STAGES[stage](machine), stage, WITHIN)
            machine.try_run("systemctl", "kill", "--signal=KILL", "joining")
            machine.wait_until(lambda: "joining.service" not in active_units(machine), "it has ended", WITHIN)
            mesh.do(load.reached(load.sent + 20))
            said = machine.run("fairlead", "join", BUNDLE, "--yes", within=180)
            assert mesh.ready() == READY, said
            mesh.do(load.reached(load.sent + 20))
        assert load.failed == []
        assert mesh.asked() == HOST, "through the proxy"
        shown = json.loads(machine.run("fairlead", "redirect", "show", "--json"))
        assert (shown["suspended"], shown["trial"]) == ("", None), "the redirect is kept"


def active_units(machine: Machine) -> str:
    return machine.systemctl("list-units", "--plain", "--no-legend", "--state=active,activating")


def it_is_refused_without_a_proxy(machine: Machine) -> None:
    done = machine.try_run("fairlead", "join", BUNDLE, "--yes")
    assert done.returncode == 1 and "fairlead proxy install" in done.stderr, done.stderr
    assert not machine.path(CONFIG).exists()


def it_joins(machine: Machine, mesh: Mesh, made: Bundle) -> None:
    """One command, from a host without a configuration to Ready; no request fails on the way."""
    with mesh.under_load() as load:
        mesh.do(load.reached(20))
        words = ("--yes", "--fingerprint", made.fingerprint)
        said = machine.run("fairlead", "join", BUNDLE, *words, within=180)
        assert mesh.ready() == READY, said
        mesh.do(load.reached(load.sent + 20))
    assert load.failed == []
    assert mesh.asked() == HOST, "through the proxy"
    shown = json.loads(machine.run("fairlead", "redirect", "show", "--json"))
    assert (shown["suspended"], shown["trial"]) == ("", None), "the redirect is kept"
    assert machine.show(AGENT, "UnitFileState") == {"UnitFileState": "enabled"}


def it_joins_again(machine: Machine, mesh: Mesh) -> None:
    agent, proxy = pid(machine, AGENT), pid(machine, PROXY)
    said = machine.run("fairlead", "join", BUNDLE, "--yes", within=180)
    assert "nothing differs" in said and mesh.ready() == READY, said
    assert (pid(machine, AGENT), pid(machine, PROXY)) == (agent, proxy)


def it_is_retired(machine: Machine, mesh: Mesh) -> None:
    """The annotation of `fairlead retire`: the host drains by itself, and says so in its Lease."""

    def ask() -> None:
        place = Place(EXTERNAL_WORKLOADS, NAMESPACE, NAME)
        annotations = {"fairlead.dev/retire": clocks.exact_wall()}
        mesh.api.store.patch(
            place, lambda body: {**body, "metadata": {**body["metadata"], "annotations": annotations}}
        )

    proxy = pid(machine, PROXY)
    mesh.call(ask)
    machine.wait_until(lambda: mesh.ready() == ("False", "Retired"), "not Ready: Retired", WITHIN)
    machine.wait_until(lambda: drained(mesh), "the Lease says that nothing is in flight", WITHIN)
    assert mesh.listed() == {OTHER} and pid(machine, PROXY) == proxy
    assert "Retired: no request" in machine.try_run("fairlead", "status").stdout


def it_is_purged(machine: Machine) -> None:
    dpkg(machine, "--purge", "fairlead")
    assert (active(machine), machine.path(CONFIG).exists()) == (set(), False)


def it_goes_through_a_real_cluster(machine: Machine, mesh: Mesh, cluster: Cluster) -> None:
    """From `enrol` to `retire` with the API server of Kubernetes: by JWT-SVIDs, with the rights that `enrol` gives
    and the shipped policies."""
    install(machine)
    beside_it.entitle(machine, mesh)
    beside_it.install_proxy(machine)
    where = ("-n", NAMESPACE, "--kubeconfig", real_cluster.KUBECONFIG)
    words = (*where, "--group", "db", "--address", HOST, "--bundle", BUNDLE, "-o", "json")
    enrolled = json.loads(machine.run("fairlead", "enrol", NAME, *words))
    fingerprint = ("--fingerprint", enrolled["fingerprint"])
    said = machine.run("fairlead", "join", BUNDLE, "--yes", *fingerprint, within=180)
    assert cluster.ready() == READY and mesh.asked() == HOST, said
    lease = cluster.read("leases")
    assert lease["spec"]["renewTime"] and lease["metadata"]["annotations"]["fairlead.dev/host"] == enrolled["user"]
    told = machine.try_run("fairlead", "retire", NAME, *where, within=180)
    assert (told.returncode, cluster.left()) == (0, set()) and "the host has drained" in told.stderr, told
    it_is_purged(machine)


def drained(mesh: Mesh) -> bool:
    annotations = mesh.api.get(LEASES, NAMESPACE, NAME)["metadata"].get("annotations", {})
    return bool(annotations.get("fairlead.dev/drained") == "true")
