"""Fault scenarios of a drain: an agent that dies during it, missing rights, the host's shutdown."""

import os

from agent.core import machines
from agent.core.reasons import Reason
from agent.host import machine
from agent.sandbox.api.faults import Answer
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.api.store import Place
from agent.sandbox.identity.workload_api import Entry
from agent.sandbox.stage import network
from agent.sandbox.stage.client import in_flight
from agent.sandbox.stage.scene import AGENT_UID, API_IDENTITY, NAME, NAMESPACE, Scene
from agent.sandbox.stage.tour import URL, is_ready, until
from tests.host.scenario import marked, named, scenario, serves, serving, started, until_it_is_written

USER = 2101
# As the unit has it.
AS_THE_AGENT = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"),
)


@scenario()
async def a_drain_outlives_the_agent(scene: Scene) -> None:
    """It is recorded; the next agent continues it, changes no proxy, and a second drain finds it done."""
    await serving(scene)
    scene.slices.delay = 3600
    code, _ = await scene.cli("drain", "--no-wait")
    assert code == 0
    status = await until(scene, lambda s: s["facts"]["slices"]["listed"] is True, "a look at the slices")
    assert not status["drained"]
    await scene.kill_agent()
    await scene.start_agent()
    after = await until(scene, lambda s: s["phase"] == "drained", "phase")
    code, text = await scene.cli("drain", "--timeout", "2")
    assert code == 75 and "cannot drain this host in time" in text
    scene.slices.hurry()
    code, text = await scene.cli("drain")
    assert code == 0 and "Drained" in text, text
    assert after["facts"]["proxy"] == "unknown" or after["facts"]["proxy"]["adopted"]
    assert (await scene.cli("undrain"))[0] == 0
    await serves(scene)


@scenario()
async def a_drain_without_the_right_to_see_slices(scene: Scene) -> None:
    """It waits drain.settle instead, and says so."""
    scene.api.allow = lambda ask: ask.resource != "endpointslices" or ask.user != API_IDENTITY
    await serving(scene)
    code, text = await scene.cli("drain", "--json")
    assert code == 0 and '"done": true' in text.splitlines()[-1] and '"listed": null' in text, text
    _, text = await scene.cli("status")
    assert Reason.SLICES_FORBIDDEN.value in text, text
    assert (await scene.cli("undrain"))[0] == 0


@scenario()
async def a_host_that_left_neither_drains_nor_serves(scene: Scene) -> None:
    await serving(scene)
    assert (await scene.cli("leave"))[0] == 0
    for verb in ("drain", "undrain"):
        code, text = await scene.cli(verb)
        assert code == 1 and "fairlead join" in text, text
    assert (await scene.cli("shutdown-drain"))[0] == 0
    assert (await scene.cli("join"))[0] == 0
    await serves(scene)


@scenario()
async def a_shutdown_drains_by_the_agent(scene: Scene) -> None:
    """Requests in flight are completed, the proxy keeps running for the applications, and nothing is recorded."""
    await serving(scene)
    slow = await in_flight(f"{URL}slow?seconds=5")
    code, text = await scene.cli("shutdown-drain")
    assert code == 0 and slow.done() and (await slow)["from"] == network.HOST, text
    assert scene.ready() == ("False", "ShuttingDown") and not scene.listed()
    status = await scene.status()
    assert status["facts"]["proxy"]["state"] == "ready" and status["facts"]["redirect"]["inbound"] == "on"
    await scene.end_agent()
    await scene.start_agent()
    await serves(scene)


@scenario()
async def a_shutdown_drains_without_an_agent(scene: Scene) -> None:
    await serving(scene)
    scene.slices.delay = 1.0
    slow = await in_flight(f"{URL}slow?seconds=20")
    await scene.kill_agent()
    code, text = await scene.cli("shutdown-drain")
    assert code == 0 and slow.done() and (await slow)["from"] == network.HOST, text
    assert "no EndpointSlice lists this host" in text and "open connections to end" in text, text
    assert scene.ready() == ("False", "ShuttingDown") and not scene.listed()


@scenario()
async def a_shutdown_drains_as_nobody_but_the_agents_user(scene: Scene) -> None:
    """The agent's own entry is all that it needs: there is none for root. Nor any right to see slices."""
    scene.api.allow = lambda ask: ask.resource != "endpointslices" or ask.user != API_IDENTITY
    await serving(scene)
    await scene.kill_agent()
    os.chown(scene.prefix / "run/fairlead/fairlead.sock", USER, USER)  # the dead agent had the same user
    scene.workload_api.register(AGENT_UID)
    scene.workload_api.register(USER, Entry(API_IDENTITY))
    code, text = await scene.cli("shutdown-drain", wrapper=AS_THE_AGENT)
    assert code == 0, text
    assert scene.ready() == ("False", "ShuttingDown") and not scene.listed()


@scenario(replace={"timeout = 30": "timeout = 3"})
async def a_shutdown_is_not_held_up(scene: Scene) -> None:
    """Neither by an unreachable API server, nor by a connection that never ends; with an agent or without."""
    await serving(scene)
    await scene.api.stop()
    code, text = await scene.cli("shutdown-drain")
    assert code == 75 and "the shutdown continues" in text, text
    await scene.kill_agent()
    code, text = await scene.cli("shutdown-drain")
    assert code == 75 and "within 3 s" in text, text
    await scene.start_api()
    await scene.start_agent()
    await until(scene, is_ready, "Ready=True")


@scenario()
async def a_second_machine_of_one_name_changes_nothing(scene: Scene) -> None:
    """The other serves. Neither the agent nor a shutdown, with an agent or without, writes its
    conditions, also before the Lease could be read."""
    (scene.prefix / "etc/machine-id").write_text("0123456789abcdef" * 2 + "\n")
    workload, lease = (Place(kind, NAMESPACE, NAME) for kind in (EXTERNAL_WORKLOADS, LEASES))
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "HostReady"}]}
    scene.api.store.patch(workload, lambda body: {**body, "status": ready}, status=True)
    scene.api.store.patch(lease, lambda body: marked(body, {machines.MACHINE: "another"}))
    before = [scene.api.get(kind, NAMESPACE, NAME) for kind in (EXTERNAL_WORKLOADS, LEASES)]
    await started(scene)
    await named(scene, Reason.MACHINE_DIFFERS, ready=True)
    for _ in "with an agent", "without":
        code, text = await scene.cli("shutdown-drain")
        scene.api.faults.add(Answer(503), times=3, method="GET", path="/leases/")
        assert code == 0, text
        if scene.agent is not None and scene.agent.returncode is None:
            await scene.kill_agent()
    scene.api.faults.clear()
    assert [scene.api.get(kind, NAMESPACE, NAME) for kind in (EXTERNAL_WORKLOADS, LEASES)] == before
    scene.api.store.patch(lease, lambda body: marked(body, {machines.MACHINE: ""}))
    await scene.start_agent()
    await serves(scene)
    await until_it_is_written(scene, machines.MACHINE, machine(scene.prefix))
