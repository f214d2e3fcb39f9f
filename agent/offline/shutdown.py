"""The drain at the host's shutdown, where no agent runs: those of the agent's loops that a drain needs.

In-process and without a unit: a socket unit with a pending stop refuses connections, and `systemctl stop` inside
an ExecStop waits for itself.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from agent import __version__
from agent.adapters import helper, interfaces, kube, phase, proxy_reading
from agent.config import Config, derived
from agent.core import machines, proxy, snapshot
from agent.core.facts import UNKNOWN, AddressesFact, LeaseFact, Phase, PhaseKind, ProxyFact, ProxyState
from agent.core.health import Spec
from agent.core.policy_drain import has_drained
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.host import Host, boot_id, clocks, machine
from agent.loops import policy as policy_loop
from agent.loops import slices, status
from agent.loops.board import Board, Waiter
from agent.offline import credential
from agent.ports import Trouble

READ_EVERY = 0.5  # seconds

Tell = Callable[[str], None]


def drain(config: Config, prefix: str, seconds: float, tell: Tell) -> bool:
    """Until no new connections reach this host; False: not within so many seconds. On a host that has left there
    is nothing to do. `tell` is called with a text for each step."""
    try:
        return asyncio.run(_drain(config, str(Host.below(prefix).prefix), seconds, tell))
    except TimeoutError:
        return False


async def _drain(config: Config, prefix: str, seconds: float, tell: Tell) -> bool:
    with contextlib.suppress(Trouble):  # one that cannot be read does not prevent the publication
        if await phase.HelperPhaseStore(prefix, helper.Helper(prefix)).read() is PhaseKind.LEFT:
            return True
    now = asyncio.get_running_loop().time
    spec, board = derived.policy_spec(config, Path(prefix), boot_id=""), Board()
    board.phase.set(Phase(PhaseKind.SHUTTING_DOWN, now()))
    waiter, shown = Waiter(board.facts, board.phase, board.goals), ""
    async with asyncio.timeout(seconds), _looking(config, spec, board, machine(Path(prefix))):
        while not has_drained(spec, board.phase.value, board.facts.value, now()):
            step = snapshot.headline(spec, board.phase.value, board.facts.value, board.goals.value, now())
            if step != shown:
                shown = step
                tell(step)
            await waiter.wait(READ_EVERY)
    return True


@contextlib.asynccontextmanager
async def _looking(config: Config, spec: Spec, board: Board, here: str) -> AsyncIterator[None]:
    api = kube.KubeApi(
        credential.credential(config),
        namespace=config.workload.namespace,
        name=config.workload.name,
        user_agent=f"fairlead/{__version__}",
    )
    board.setter("addresses")(_addresses(spec))
    loops = [
        _read_lease(api, spec.workload, here, board.setter("lease")),
        status.StatusLoop(api, spec, board, board.setter("workload"), clocks.wall, random.random).run(),
        slices.SlicesLoop(api, board, board.setter("slices")).run(),
        policy_loop.PolicyLoop(spec, board, board.setter("agent")).run(),
        _watch_proxy(config, Slot.MAIN, board.setter("proxy")),
        *([_watch_proxy(config, Slot.STANDBY, board.setter("standby"))] if spec.slots else []),
    ]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            yield
            for task in tasks:
                task.cancel()
    finally:
        await api.close()


async def _read_lease(api: kube.KubeApi, workload: str, here: str, publish: Callable[[LeaseFact], None]) -> None:
    """Whether it is another machine's, whose conditions must stay. Nothing is written before this is known."""
    while True:
        try:
            publish(LeaseFact(fault=_anothers((await api.read_lease()).annotations, here, workload)))
            return
        except Trouble as trouble:
            publish(LeaseFact(fault=trouble.fault))
            if trouble.reason in machines.NOBODYS:
                return
        await asyncio.sleep(READ_EVERY)


def _anothers(there: Mapping[str, str], here: str, workload: str) -> Fault | None:
    """Why the Lease with these annotations is another machine's."""
    differs = machines.fault(there.get(machines.MACHINE, ""), here, workload)
    return differs or machines.renewed_by_another_boot(there.get(machines.BOOT_ID, ""), boot_id())


def _addresses(spec: Spec) -> AddressesFact:
    """Of two machines of one image, peers reach the one that has them."""
    try:
        return AddressesFact(interfaces.absent(spec.addresses))
    except Trouble as trouble:
        return AddressesFact(fault=trouble.fault)


async def _watch_proxy(config: Config, slot: Slot, publish: Callable[[ProxyFact], None]) -> None:
    """How many connections are in flight, however the proxy was started."""
    settings, (uid, _) = derived.proxy_settings(config, slot=slot), derived.proxy_owner(config)
    while True:
        began = asyncio.get_running_loop().time()
        reading = await proxy_reading.read(settings)
        state, fault, _left = proxy.judge(reading, uid, time.time())
        if reading.live is False and reading.inbound_listening is False:
            state, fault = ProxyState.STOPPED, Fault(Reason.PROXY_STOPPED)
        in_flight = None if reading.in_flight is UNKNOWN else reading.in_flight
        publish(ProxyFact(state, in_flight=in_flight, counted_at=began, fault=fault))
        await asyncio.sleep(READ_EVERY)
