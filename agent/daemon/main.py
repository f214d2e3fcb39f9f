"""The composition root of the agent: config → adapters → board → one task group. Reads like a list.

SIGTERM and SIGINT hand over: the data plane stays exactly as it is. Whatever else leaves the task group is a
bug; the process ends non-zero, and systemd starts the next one, which takes up what it finds.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from agent import __version__
from agent.adapters import (
    anchors,
    control_plane,
    folders,
    helper,
    identity_token,
    instance,
    interfaces,
    kube,
    phase,
    probes,
    proxy_child,
    proxy_reading,
    proxy_unit,
    ready_record,
    redirector,
    replacement,
    spawn,
    spire,
    status_socket,
    systemd,
)
from agent.config import Config, derived
from agent.core import failure, snapshot
from agent.core import proxy as proxy_core
from agent.core.facts import UNKNOWN
from agent.core.proxy import ProxySettings
from agent.daemon import logs, orders, reload, secrecy
from agent.loops import (
    addresses,
    events,
    identity,
    lease,
    notify,
    outdated,
    policy,
    probe,
    proxy,
    ready_once,
    redirect,
    report,
    slices,
    status,
)
from agent.loops import anchors as anchors_loop
from agent.loops import control_plane as control_plane_loop
from agent.loops import folders as folders_loop
from agent.loops import phase as phase_loop
from agent.loops import replacement as replacement_loop
from agent.loops import token as token_loop
from agent.loops.board import Board
from agent.offline import credential
from agent.ports import IdentityTokens, ProxyRuntime, Trouble

HANDOVER_WITHIN = 2.0  # seconds for the last word to the Lease
SYSTEMD = Path("/run/systemd/system")  # there on a host that systemd has booted: sd_booted(3)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Loop(Protocol):
    """A component: a name and this. Start is create_task, stop is cancellation."""

    async def run(self) -> None: ...


class CannotStart(Exception):
    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def run(config: Config, prefix: str, *, json_log: bool = False) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotStart."""
    secrecy.no_core_files()
    logs.configure(json=json_log, workload=f"{config.workload.namespace}/{config.workload.name}")
    try:
        owner = derived.proxy_owner(config)
    except KeyError:
        remedy = "create it (useradd --system --shell /usr/sbin/nologin NAME), or correct proxy.user"
        raise CannotStart(f"there is no user {config.proxy.user!r} for the proxy", remedy) from None
    lock = Path(prefix or "/") / "run/fairlead/agent.lock"
    try:
        with instance.only_one(lock):
            spawn.gain_nothing()
            asyncio.run(_live(config, prefix, owner))
    except instance.Held:
        raise CannotStart("another agent is running", "stop it: systemctl stop fairlead") from None
    except PermissionError as error:
        raise CannotStart(f"{error.filename}: permission denied", "run it as root, or by its unit") from None


async def _live(config: Config, prefix: str, owner: tuple[int, int]) -> None:
    """One configuration after another. Between two nothing is awaited, so that no signal is lost; and the socket
    stays, so that no client is."""
    wanted: Config | None = config
    with status_socket.listening(Path(prefix or "/") / "run/fairlead/fairlead.sock") as listener:
        for count in itertools.count(1):
            if wanted is None:
                return
            wanted = await Daemon(wanted, prefix, owner, count, listener).run()


class Daemon:
    """`prefix`: before every path of the host. `owner`: uid and gid of the proxy. `count`: which configuration of
    this process it is. `listener`: where it is asked."""

    def __init__(
        self,
        config: Config,
        prefix: str,
        owner: tuple[int, int],
        count: int,
        listener: status_socket.Listener,
    ) -> None:
        self._owner, self._count, self._listener = owner, count, listener
        self._stop, self._next, self._told_to_end = asyncio.Event(), config, False
        self._config, self._root = config, Path(prefix or "/")
        self._helper = helper.Helper(prefix or "/")
        self._redirector = redirector.HelperRedirector(self._helper)
        self._interfaces = interfaces.HostInterfaces()
        self._board = Board()
        self._spec = derived.policy_spec(config, self._root, BOOT_ID.read_text().strip())
        self._name = f"{config.workload.namespace}/{config.workload.name}"
        self._credential = credential.credential(config)
        self._api = kube.KubeApi(
            self._credential,
            namespace=config.workload.namespace,
            name=config.workload.name,
            user_agent=f"fairlead/{__version__}",
        )
        self._phase = phase_loop.PhaseLoop(phase.HelperPhaseStore(prefix or "/", self._helper), self._board)
        self._probe = probe.ProbeLoop(
            probes.HostProber(helper=self._helper),
            config.probes,
            self._board.setter("probes"),
            self._board.attempts,
        )
        self._lease = self._lease_loop()
        self._replacement = replacement_loop.ReplacementLoop(
            replacement.HelperReplacementStore(prefix or "/", self._helper),
            self._spec,
            self._board,
            self._board.setter("replacement"),
            config.proxy.ready_within,
        )
        self._runtime = self._proxy_runtime()
        self._orders = orders.Orders(config, prefix or "/", self._board, self._replacement, self._runtime.prove)
        publish = self._board.setter("configuration")
        self._reload = reload.Reload(
            config, prefix or "/", self._board, self._begin_again, self._orders.restart, publish, count
        )

    async def run(self) -> Config | None:
        """Until it is told to end (None), or to go on with another configuration."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload.ask)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._api.close)
            stack.callback(self._redirector.close)
            stack.callback(self._interfaces.close)
            if isinstance(self._runtime, proxy_child.ChildProxy):
                stack.callback(self._runtime.close)
            await stack.enter_async_context(self._socket().serving(self._listener))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop, name=name) for name, loop in self._loops().items()]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
            await self._hand_over()
        return None if self._told_to_end else self._next

    def _end(self) -> None:
        self._told_to_end = True
        self._stop.set()

    def _begin_again(self, config: Config) -> None:
        self._next = config
        self._stop.set()

    def _loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        config, board, spec = self._config, self._board, self._spec
        fact, dice = board.setter, random.random
        notifier, watchdog = systemd.SystemdNotifier(os.environ), systemd.watchdog_seconds(os.environ)
        loops: dict[str, Loop] = {
            "phase": self._phase,
            "ready_once": self._ready_once_loop(),
            "identity": self._identity_loop(),
            "anchors": self._anchors_loop(),
            "proxy": self._proxy_loop(),
            "redirect": redirect.RedirectLoop(self._redirector, board, fact("redirect"), dice),
            "addresses": addresses.AddressesLoop(
                self._interfaces, spec.addresses, fact("addresses"), board.attempts
            ),
            "probe": self._probe,
            "status": status.StatusLoop(self._api, spec, board, fact("workload"), _wall, dice),
            "lease": self._lease,
            "replacement": self._replacement,
            "outdated": self._outdated_loop(),
            "control_plane": self._control_plane_loop(),
            "reload": self._reload,
            "folders": self._folders_loop(),
            "slices": slices.SlicesLoop(self._api, board, fact("slices")),
            "events": events.EventsLoop(self._api, board, config.workload.name, _exact_wall, _token),
            "policy": policy.PolicyLoop(spec, board, fact("agent")),
            "report": report.ReportLoop(spec, board),
            "notify": notify.NotifyLoop(notifier, spec, board, watchdog),
        }
        return {name: loop.run() for name, loop in loops.items()}

    def _ready_once_loop(self) -> Loop:
        workload = self._config.workload
        member = failure.record(workload.namespace, workload.name, workload.identity)
        record = ready_record.HelperReadyRecord(str(self._root), self._helper, member)
        return ready_once.ReadyOnceLoop(record, self._board, self._board.setter("ready_once"))

    def _control_plane_loop(self) -> Loop:
        settings = self._proxy_settings()
        policy, destination, name = proxy_core.controllers(settings)
        anchored = derived.anchors_in_force(self._config, self._root)
        found = control_plane.HostControlPlane(policy, destination, name, anchored)
        publish = self._board.setter("control_plane")
        return control_plane_loop.ControlPlaneLoop(found, self._board, publish, outbound=self._spec.outbound)

    def _identity_loop(self) -> Loop:
        wanted, publish = self._config.identity, self._board.setter("identity")
        common, seen = (self._spec.identity, publish, time.time, random.random), self._board.attempts
        if wanted.mode == "token":
            return token_loop.TokenLoop(self._tokens(), *common, seen)
        return identity.IdentityLoop(spire.SpireWorkloadApi(wanted.workload_api), *common, wanted.hint, seen)

    def _tokens(self) -> IdentityTokens:
        wanted, subject = self._config.identity, derived.token_subject(self._config)
        place = identity_token.Place(derived.token_place(self._root), self._owner, subject, time.time)
        if wanted.token_file:
            return identity_token.FromFile(place, Path(wanted.token_file))
        return identity_token.Requested(place, self._api.tokens(wanted.service_account).ask)

    def _anchors_loop(self) -> anchors_loop.AnchorsLoop:
        wanted, root = self._config.identity, self._root
        roots = self._api.trust_roots(self._config.control_plane.namespace)
        found = anchors.HostAnchors(
            anchors.Places(derived.anchors_in_force(self._config, root), derived.anchors_kept(root)),
            roots.read if wanted.anchors_source == "cluster" else None,
            bundled=wanted.anchors_source == "workload-api",
        )
        publish = self._board.setter("anchors")
        return anchors_loop.AnchorsLoop(
            found,
            self._board,
            publish,
            time.time,
            self._name,
            wanted.anchors_window,
            follow=wanted.anchors_follow,
            rooted=wanted.anchors_source == "workload-api",
        )

    def _proxy_loop(self) -> proxy.ProxyLoop:
        publish, grace = self._board.setter("proxy"), float(self._config.proxy.grace)
        uid, wall = self._owner[0], time.time
        return proxy.ProxyLoop(self._runtime, self._board, publish, uid, wall, random.random, grace)

    def _outdated_loop(self) -> outdated.OutdatedLoop:
        def wanted() -> Mapping[str, str]:
            return proxy_core.environment(self._proxy_settings(), "")

        publish = self._board.setter("started_with")
        restart = partial(self._orders.restart, {})
        return outdated.OutdatedLoop(proxy_reading.environment, wanted, self._spec, self._board, publish, restart)

    def _folders_loop(self) -> folders_loop.FoldersLoop:
        sockets = [self._root / "run/fairlead" / name for name in ("fairlead.sock", "helper.sock")]
        found = folders.HostFolders(self._root / "var/lib/fairlead/agent", *sockets)
        # Whoever is to be told that this process is ready also starts the next one.
        end = self._end if "NOTIFY_SOCKET" in os.environ else None
        return folders_loop.FoldersLoop(found.look, self._board.setter("folders"), end)

    def _proxy_runtime(self) -> ProxyRuntime:
        if not derived.systemd_owns_the_proxy(self._config, self._root, booted=SYSTEMD.exists()):
            return self._child_runtime()
        return proxy_unit.UnitProxy(self._proxy_settings, self._helper, self._root)

    def _proxy_settings(self) -> ProxySettings:
        return derived.proxy_settings(self._config, str(self._root))

    def _child_runtime(self) -> proxy_child.ChildProxy:
        prefix, (uid, gid) = str(self._root), self._owner
        settings = self._proxy_settings()
        paths = proxy_child.Paths(
            binary=derived.proxy_binary(self._config, prefix),
            trust_anchors=derived.anchors_in_force(self._config, self._root),
            record=self._root / "run/fairlead/proxy.json",
            log=self._root / "var/log/fairlead/proxy.log",
        )
        gate = [sys.executable, "-m", "agent", "identity-gate", settings.workload_api, settings.identity]
        if settings.token_file:  # it makes the proxy's key too, as root's configuration says
            identity_token.furnish(Path(settings.identity_folder).parent, 0o700, self._owner)
            gate = [sys.executable, "-m", "agent.proxyunit.gate", "--prefix", prefix, "--within", "0"]
        preflight = [sys.executable, "-m", "agent.offline.preflight", prefix]
        return proxy_child.ChildProxy(self._proxy_settings, paths, uid, gid, gate, preflight)

    def _lease_loop(self) -> lease.LeaseLoop:
        return lease.LeaseLoop(
            self._api,
            self._spec,
            self._board,
            self._board.setter("lease"),
            socket.gethostname(),
            _exact_wall,
            random.random,
            self._lease_annotations,
        )

    def _lease_annotations(self) -> Mapping[str, str]:
        """What changes often, and so must not stand in a condition."""
        found = {
            "fairlead.dev/agent-version": __version__,
            "fairlead.dev/proxy-version": derived.proxy_version(self._config, str(self._root)),
        }
        fact = self._board.facts.value.identity
        if fact is not UNKNOWN and fact.svid is not None:
            found["fairlead.dev/svid-expires"] = datetime.fromtimestamp(fact.svid.not_after, UTC).isoformat()
        anchored = self._board.facts.value.anchors
        if anchored is not UNKNOWN and anchored.expires_at is not None:
            ends = time.time() + anchored.expires_at - asyncio.get_running_loop().time()
            found["fairlead.dev/anchors-expire"] = datetime.fromtimestamp(ends, UTC).date().isoformat()
        return found

    def _socket(self) -> status_socket.StatusSocket:
        path = self._root / "run/fairlead/fairlead.sock"
        pushes = {spec.name: spec.ttl for spec in self._config.probes if spec.kind == "push"}
        return status_socket.StatusSocket(
            path, self._snapshot, self._board.changed, self._phase.ask, pushes, self._probe.push, self._by_name()
        )

    def _by_name(self) -> Mapping[str, status_socket.Order]:
        found = self._orders
        return {
            "reload": self._reload.order,
            "proxy-upgrade": found.upgrade,
            "proxy-rollback": found.rollback,
            "proxy-restart": found.restart,
            "proxy-check": found.check,
            "proxy-log-level": found.log_level,
        }

    def _snapshot(self) -> dict[str, Any]:
        board, now = self._board, asyncio.get_running_loop().time()
        shot = snapshot.snapshot(self._spec, board.phase.value, board.facts.value, board.goals.value, now)
        return {
            "workload": self._name,
            "agent": __version__,
            "version": board.version,
            "configuration": self._count,
            "proxy_version": derived.proxy_version(self._config, str(self._root)),
            **shot,
            "attempts": snapshot.attempts(board.attempts.seen, now),
            "credential": snapshot.timed(self._credential.about(), now),
        }

    async def _hand_over(self) -> None:
        log = structlog.get_logger()
        try:
            async with asyncio.timeout(HANDOVER_WITHIN):
                await self._lease.handover()
        except (Trouble, TimeoutError) as error:
            log.warning("the Lease could not be handed over", detail=str(error))
        log.info("handed over: proxy, redirect and Ready stay as they are")


def _wall() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _exact_wall() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _token() -> str:
    return f"{random.getrandbits(64):016x}"
