"""Constructs the parts of the agent and connects them. It decides nothing."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

from agent import __version__
from agent.adapters import (
    control_plane,
    folders,
    interfaces,
    kube,
    phase,
    probes,
    proxy_reading,
    ready_record,
    redirector,
    replacement,
    status_socket,
    systemd,
)
from agent.config import Config, derived
from agent.core import failure
from agent.core import proxy as proxy_core
from agent.core.slots import Slot
from agent.daemon import identities, metrics, orders, proxies, published_state, reload
from agent.daemon.context import Context
from agent.host import clocks, machine
from agent.loops import (
    addresses,
    events,
    lag,
    lease,
    notify,
    policy,
    probe,
    proxy,
    ready_once,
    redirect,
    report,
    restart_pending,
    slices,
    status,
)
from agent.loops import control_plane as control_plane_loop
from agent.loops import folders as folders_loop
from agent.loops import phase as phase_loop
from agent.loops import prepared as prepared_loop
from agent.loops import replacement as replacement_loop
from agent.proxyunit import prepared


class Loop(Protocol):
    """A component: a name and this. Start is create_task, stop is cancellation."""

    async def run(self) -> None: ...


@dataclass(frozen=True)
class Ending:
    """How the agent ends: the process too, or with another configuration next."""

    end: Callable[[], None]
    begin_again: Callable[[Config], None]


class Parts:
    """Each part is made once, when it is first asked for."""

    def __init__(self, context: Context, ending: Ending) -> None:
        self.context, self._ending = context, ending

    # adapters that several parts share

    @cached_property
    def redirector(self) -> redirector.HelperRedirector:
        return redirector.HelperRedirector(self.context.helper)

    @cached_property
    def interfaces(self) -> interfaces.HostInterfaces:
        return interfaces.HostInterfaces()

    @cached_property
    def api(self) -> kube.KubeApi:
        workload = self.context.config.workload
        agent = f"fairlead/{__version__}"
        return kube.KubeApi(
            self.context.credential,
            namespace=workload.namespace,
            name=workload.name,
            user_agent=agent,
            counted=self.context.board.attempts.tallies.requested,
        )

    @cached_property
    def runtime(self) -> proxies.Runtime:
        return proxies.runtime(self.context, self.context.helper)

    # loops that others call

    @cached_property
    def phase(self) -> phase_loop.PhaseLoop:
        store = phase.HelperPhaseStore(str(self.context.host.prefix), self.context.helper)
        return phase_loop.PhaseLoop(store, self.context.board)

    @cached_property
    def probe(self) -> probe.ProbeLoop:
        prober = probes.HostProber(helper=self.context.helper)
        board = self.context.board
        return probe.ProbeLoop(prober, self.context.config.probes, board.setter("probes"), board.attempts)

    @cached_property
    def lease(self) -> lease.LeaseLoop:
        it = self.context
        annotations = partial(published_state.lease_annotations, it)
        publish, name = it.board.setter("lease"), socket.gethostname()
        period, wall = it.config.api.lease_period, clocks.exact_wall
        return lease.LeaseLoop(
            *(self.api, it.spec, it.board, publish, name, wall, random.random, annotations, period),
            machine=machine(it.host.prefix),
        )

    @cached_property
    def replacement(self) -> replacement_loop.ReplacementLoop:
        it = self.context
        store = replacement.HelperReplacementStore(str(it.host.prefix), self.context.helper)
        publish, within = it.board.setter("replacement"), it.config.proxy.ready_within
        return replacement_loop.ReplacementLoop(store, it.spec, it.board, publish, within)

    @cached_property
    def orders(self) -> orders.Orders:
        it = self.context
        return orders.Orders(
            it.config,
            str(it.host.prefix),
            it.board,
            self.replacement,
            self.runtime.prove,
            partial(proxies.why_drained, it),
        )

    @cached_property
    def reload(self) -> reload.Reload:
        it, again = self.context, self._ending.begin_again
        publish = it.board.setter("configuration")
        prefix = str(it.host.prefix)
        return reload.Reload(it.config, prefix, it.board, again, self.orders.restart, publish, it.count)

    # every loop, by name

    def loops(self) -> Mapping[str, Loop]:
        it, board, spec = self.context, self.context.board, self.context.spec
        fact, dice, name = board.setter, random.random, it.config.workload.name
        notifier, watchdog = systemd.SystemdNotifier(os.environ), systemd.watchdog_seconds(os.environ)
        return {
            "phase": self.phase,
            "ready_once": self._ready_once(),
            "identity": identities.identity(it, self.api),
            "anchors": identities.anchors(it, self.api, self.context.helper),
            "proxy": self._proxy(),
            **({"standby": self._standby()} if spec.slots else {}),
            "redirect": redirect.RedirectLoop(self.redirector, board, fact("redirect"), dice),
            **({"prepared": self._prepared()} if proxies.by_systemd(it) else {}),
            "addresses": addresses.AddressesLoop(
                self.interfaces, spec.addresses, fact("addresses"), board.attempts
            ),
            "probe": self.probe,
            "status": status.StatusLoop(self.api, spec, board, fact("workload"), clocks.wall, dice),
            "lease": self.lease,
            "replacement": self.replacement,
            "restart_pending": self._restart_pending(),
            "control_plane": self._control_plane(),
            "reload": self.reload,
            "folders": self._folders(),
            "slices": slices.SlicesLoop(self.api, board, fact("slices")),
            "events": events.EventsLoop(self.api, board, name, clocks.exact_wall, clocks.token),
            "policy": policy.PolicyLoop(spec, board, fact("agent")),
            "report": report.ReportLoop(spec, board),
            "lag": lag.LagLoop(board.attempts.tallies),
            "metrics": metrics.Listening(it, fact("metrics")),
            "notify": notify.NotifyLoop(notifier, spec, board, watchdog),
        }

    def _ready_once(self) -> Loop:
        it, workload = self.context, self.context.config.workload
        member = failure.record(workload.namespace, workload.name, workload.identity)
        record = ready_record.HelperReadyRecord(str(it.host.prefix), self.context.helper, member)
        return ready_once.ReadyOnceLoop(record, it.board, it.board.setter("ready_once"))

    def _prepared(self) -> Loop:
        board = self.context.board
        look = partial(asyncio.to_thread, prepared.lost, str(self.context.host.prefix))
        publish = board.setter("prepared")
        return prepared_loop.PreparedLoop(look, self.redirector.check, board, publish, random.random)

    def _control_plane(self) -> Loop:
        it = self.context
        controllers = proxy_core.controllers(proxies.settings(it))
        adapter = control_plane.HostControlPlane(*controllers, derived.anchors_in_force(it.config, it.host.prefix))
        publish = it.board.setter("control_plane")
        return control_plane_loop.ControlPlaneLoop(adapter, it.board, publish, outbound=it.spec.outbound)

    def _proxy(self) -> Loop:
        it, (uid, _) = self.context, self.context.owner
        publish, grace = it.board.setter("proxy"), float(it.config.proxy.grace)
        return proxy.ProxyLoop(self.runtime, it.board, publish, uid, time.time, random.random, grace)

    def _standby(self) -> Loop:
        it, (uid, _) = self.context, self.context.owner
        publish, grace = it.board.setter("standby"), float(it.config.proxy.grace)
        runtime = proxies.standby(it, it.helper)
        common = (runtime, it.board, publish, uid, time.time, random.random, grace)
        return proxy.ProxyLoop(*common, slot=Slot.STANDBY)

    def _restart_pending(self) -> Loop:
        it, restart = self.context, partial(self.orders.restart, {})
        publish = it.board.setter("started_with")
        wanted = partial(proxies.wanted_environment, it)
        return restart_pending.RestartPendingLoop(
            proxy_reading.environment, wanted, it.spec, it.board, publish, restart
        )

    def _folders(self) -> Loop:
        host = self.context.host
        adapter = folders.HostFolders(host.agent_state, host.socket, host.push_socket)
        # A service manager to which this process reports that it is ready also starts the next one.
        end = self._ending.end if "NOTIFY_SOCKET" in os.environ else None
        return folders_loop.FoldersLoop(adapter.look, self.context.board.setter("folders"), end)

    # its sockets

    def socket(self) -> status_socket.StatusSocket:
        it = self.context
        snapshot, asked = partial(published_state.snapshot, it), self.phase.ask
        return status_socket.StatusSocket(
            it.host.socket,
            snapshot,
            it.board.changed,
            asked,
            self._by_name(),
            metrics.routes(it),
            partial(derived.operators, it.config),
        )

    def push_socket(self) -> status_socket.PushSocket:
        it = self.context
        pushes = {spec.name: spec.ttl for spec in it.config.probes if spec.kind == "push"}
        return status_socket.PushSocket(it.host.push_socket, pushes, self.probe.push)

    def _by_name(self) -> Mapping[str, status_socket.Order]:
        return {
            "reload": self.reload.order,
            "proxy-upgrade": self.orders.upgrade,
            "proxy-rollback": self.orders.rollback,
            "proxy-restart": self.orders.restart,
            "proxy-check": self.orders.check,
            "proxy-log-level": self.orders.log_level,
        }
