"""The proxy under the agent: a systemd unit, or a child process where systemd does not run."""

import sys
from collections.abc import Mapping
from pathlib import Path

from agent.adapters import helper, identity_token, proxy_child, proxy_unit
from agent.config import derived
from agent.core import proxy as proxy_core
from agent.core.proxy import ProxySettings
from agent.daemon.context import Context

Runtime = proxy_unit.UnitProxy | proxy_child.ChildProxy

_SYSTEMD = Path("/run/systemd/system")  # exists on a host that systemd has booted: sd_booted(3)


def runtime(it: Context, privileged: helper.Helper) -> Runtime:
    def wanted() -> ProxySettings:
        return settings(it)

    if derived.systemd_owns_the_proxy(it.config, it.host.prefix, booted=_SYSTEMD.exists()):
        return proxy_unit.UnitProxy(wanted, privileged, it.host.prefix)
    paths = proxy_child.Paths(
        binary=derived.proxy_binary(it.config, str(it.host.prefix)),
        trust_anchors=derived.anchors_in_force(it.config, it.host.prefix),
        record=it.host.child_proxy,
        log=it.host.child_proxy_log,
    )
    preflight = [sys.executable, "-m", "agent.offline.preflight", str(it.host.prefix)]
    return proxy_child.ChildProxy(wanted, paths, *it.owner, _gate(it), preflight)


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
