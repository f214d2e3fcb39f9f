"""The proxy under the agent: a systemd unit, or a child process where systemd does not run."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from agent.adapters import helper, identity_token, memory, proxy_child, proxy_unit
from agent.config import Config, ConfigError, derived, parse, slotted
from agent.core import proxy as proxy_core
from agent.core import slots
from agent.core.facts import UNKNOWN, ProxyState
from agent.core.proxy import ProxySettings
from agent.core.reasons import Reason
from agent.core.slots import Slot
from agent.daemon.context import Context
from agent.host import reading
from agent.privileged.proxy import versions

Runtime = proxy_unit.UnitProxy | proxy_child.ChildProxy

NOT_APPROVED = "the slots of this configuration are not approved yet"
_SYSTEMD = Path("/run/systemd/system")  # exists on a host that systemd has booted: sd_booted(3)


def runtime(it: Context, privileged: helper.Helper) -> Runtime:
    def wanted() -> ProxySettings:
        return settings(it)

    if by_systemd(it):
        return proxy_unit.UnitProxy(wanted, privileged, it.host.prefix)
    return _child(it, privileged, wanted, _paths(it, it.host.child_proxy, it.host.child_proxy_log), Slot.MAIN)


def standby(it: Context, privileged: helper.Helper) -> Runtime:
    prefix = str(it.host.prefix)
    instead = Path(derived.proxy_binary(it.config, prefix, versions.STANDBY))

    def wanted() -> ProxySettings:
        version = versions.STANDBY if instead.exists() else ""
        return derived.proxy_settings(it.config, prefix, version, Slot.STANDBY)

    if by_systemd(it):
        return proxy_unit.UnitProxy(wanted, privileged, it.host.prefix, slot=Slot.STANDBY)
    paths = _paths(it, it.host.child_standby, it.host.child_standby_log)
    return _child(it, privileged, wanted, dataclasses.replace(paths, instead=instead), Slot.STANDBY)


def by_systemd(it: Context) -> bool:
    return derived.systemd_owns_the_proxy(it.config, it.host.prefix, booted=_SYSTEMD.exists())


def _paths(it: Context, record: Path, log: Path) -> proxy_child.Paths:
    return proxy_child.Paths(
        binary=derived.proxy_binary(it.config, str(it.host.prefix)),
        trust_anchors=derived.anchors_in_force(it.config, it.host.prefix),
        record=record,
        log=log,
    )


def _child(
    it: Context,
    privileged: helper.Helper,
    wanted: Callable[[], ProxySettings],
    paths: proxy_child.Paths,
    slot: Slot,
) -> proxy_child.ChildProxy:
    """Where it has a slot, with the slot's address: no unit brings that."""
    preflight = [sys.executable, "-m", "agent.offline.preflight", str(it.host.prefix)]
    addresses = partial(privileged.ask, "proxy addresses", Reason.PROXY_UNIT_FAILED, slot=slot.value)
    furnish = addresses if it.spec.slots else None
    return proxy_child.ChildProxy(wanted, paths, *it.owner, _gate(it), preflight, furnish)


def why_drained(it: Context) -> str:
    """Why a replacement drains the host first; "": the second slot can serve in the meantime."""
    facts = it.board.facts.value
    file = _file(it)
    if not it.spec.slots or derived.slot_in_force(file, it.host.prefix, Slot.MAIN) is None:
        return slotted.why_one_slot(file) or NOT_APPROVED
    main = facts.proxy
    if facts.active is not Slot.MAIN or main is UNKNOWN or main.state is not ProxyState.READY:
        return "the proxy is not ready, or the second slot serves already"
    assert main.process is not None
    if main.everywhere:
        return "the running proxy was started before there were slots, and listens on every address"
    return slots.room(*memory.left_and_taken(main.process.pid))


def _file(it: Context) -> Config:
    """The configuration as it is now: root's programs start the next proxy by it, edited or not."""
    try:
        return parse(reading.read(it.host.configuration, reading.DOCUMENT, links=True).decode())
    except (OSError, UnicodeDecodeError, ConfigError):
        return it.config


def _gate(it: Context) -> list[str]:
    wanted = settings(it)
    if not wanted.token_file:
        return [sys.executable, "-m", "agent", "identity-gate", wanted.workload_api, wanted.identity]
    # It also makes the proxy's key, by root's configuration.
    identity_token.furnish(Path(wanted.identity_folder).parent, 0o700, it.owner)
    prefix = str(it.host.prefix)
    return [sys.executable, "-m", "agent.proxyunit.gate", "--prefix", prefix, "--within", "0"]


def settings(it: Context) -> ProxySettings:
    """Of its next start: which version is the current one may change."""
    return derived.proxy_settings(it.config, str(it.host.prefix))


def wanted_environment(it: Context) -> Mapping[str, str]:
    return proxy_core.environment(settings(it), "")
