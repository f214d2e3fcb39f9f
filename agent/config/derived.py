"""Config → the plain values that core and the adapters take. Same law as `agent.config`, except that this looks up
a user's name, the current version of the proxy, and the approved redirect."""

import grp
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from agent.config import Config, ConfigError, RedirectConfig, changes, parse, slotted
from agent.core import releases, token
from agent.core.failure import Failure
from agent.core.health import Spec
from agent.core.probe import first_verdicts_within
from agent.core.proxy import ProxySettings
from agent.core.redirect.spec import goes_out, outbound_of
from agent.core.slots import Place, Slot
from agent.host import Host, reading


def policy_spec(config: Config, root: Path, boot_id: str) -> Spec:
    """With the redirect that root approved last: an edited one is in force only after root approves it."""
    redirect = _approved_redirect(config, root)
    return Spec(
        identity=config.workload.identity,
        server_name=config.workload.server_name,
        addresses=_texts(config.host.addresses),
        ports=config.workload.ports,
        opaque_ports=config.workload.opaque_ports,
        boot_id=boot_id,
        workload=f"{config.workload.namespace}/{config.workload.name}",
        redirect=redirect.mode != "off",
        outbound=_outbound(redirect),
        inbound_failure=Failure(redirect.inbound_failure),
        outbound_failure=Failure(redirect.outbound_failure),
        probe_window=first_verdicts_within(config.probes),
        settle=config.drain.settle,
        drain_timeout=config.drain.timeout,
        slots=slot_named(config, root, Slot.MAIN) is not None,
        standby=config.proxy.standby and slot_in_force(config, root, Slot.STANDBY) is not None,
        policy_awaited=config.proxy.default_inbound_policy != "deny",
        outbound_only=config.identity.mode == "token",
        address_translated=config.host.address_translated,
    )


def _approved_redirect(config: Config, root: Path) -> RedirectConfig:
    return _approved(config, root).redirect


def unapproved(config: Config, root: Path, keys: Sequence[str]) -> list[str]:
    """Those of these keys of the redirect whose value root has not approved."""
    approved = _read_approved(root)
    differing = keys if approved is None else changes.changed(approved, config)
    return [key for key in keys if key in differing]


def _approved(config: Config, root: Path) -> Config:
    """That of the file, if none was approved or the approved one cannot be read."""
    return _read_approved(root) or config


def _read_approved(root: Path) -> Config | None:
    try:
        text = reading.read(Host(root).approved.configuration, reading.DOCUMENT)
        return parse(text.decode())
    except (OSError, UnicodeDecodeError, ConfigError):
        return None


def slot_in_force(config: Config, root: Path, slot: Slot) -> Place | None:
    """Where the next proxy of this slot listens. Where an edited configuration has other slots than the approved
    one, whose rules are in force, at every address: the rules of both lead there."""
    wanted, named = slotted.place(config, slot), slot_named(config, root, slot)
    return wanted if wanted == named else None


def slot_named(config: Config, root: Path, slot: Slot) -> Place | None:
    """Where the rules of the redirect that root approved last lead to."""
    return slotted.place(_approved(config, root), slot)


def api_identity(config: Config) -> str:
    """The SPIFFE ID with which the agent speaks to the API server: not the workload's, which the proxy's user has
    too."""
    return config.api.identity or f"{config.workload.identity}/agent"


# Of a binary that does not say which version it is.
USUAL_VERSION = "2.366.0"


def proxy_binary(config: Config, prefix: str, version: str = "") -> str:
    """Its path, which may contain a symlink that an upgrade changes. `version`: an installed version; "": the
    current one."""
    home = Host.below(prefix).proxy_versions
    return config.proxy.binary or str(home / (version or "current") / "linkerd2-proxy")


def proxy_version(config: Config, prefix: str, version: str = "") -> str:
    """That of the next start, or of that version."""
    binary = os.path.realpath(proxy_binary(config, prefix, version))
    return config.proxy.version or releases.installed(binary) or USUAL_VERSION


def systemd_owns_the_proxy(config: Config, root: Path, *, booted: bool) -> bool:
    """False: the agent starts it as a child. `booted`: systemd runs this host. A unit serves only the host at /;
    hosts below prefixes use children."""
    match config.proxy.runtime:
        case "unit":
            return True
        case "child":
            return False
    return booted and root == Path("/")


def proxy_settings(config: Config, prefix: str = "", version: str = "", slot: Slot = Slot.MAIN) -> ProxySettings:
    """With the version of the next start, or with that version."""
    proxy, control = config.proxy, config.control_plane
    by_token, root = config.identity.mode == "token", Host.below(prefix).prefix
    return ProxySettings(
        version=proxy_version(config, prefix, version),
        workload=config.workload.name,
        namespace=config.workload.namespace,
        identity=config.workload.identity,
        server_name=config.workload.server_name,
        addresses=_texts(config.host.addresses),
        workload_api=config.identity.workload_api,
        ports=config.workload.ports,
        opaque_ports=config.workload.opaque_ports,
        log=proxy.log,
        log_format=proxy.log_format,
        cores=proxy.cores,
        grace=proxy.grace,
        default_inbound_policy=proxy.default_inbound_policy,
        control_namespace=control.namespace,
        cluster_domain=control.cluster_domain,
        trust_domain=control.trust_domain,
        destination=control.destination,
        policy=control.policy,
        identity_controller=control.identity,
        token_file=str(Host(root).token) if by_token else "",
        identity_folder=str(Host(root).proxy_identity) if by_token else "",
        cluster_networks=_texts(control.cluster_networks),
        slot=slot_in_force(config, root, slot),
        named=slot_named(config, root, slot),
        extra=proxy.environment,
    )


def anchors_in_force(config: Config, root: Path) -> tuple[Path, ...]:
    """The files of the trust anchors that the proxy starts with, all root's: the first that exists."""
    configured = Path(config.identity.trust_anchors)
    if config.identity.anchors_source == "file":
        return (configured,)
    return (Host(root).anchors_accepted, configured)


def token_subject(config: Config) -> str:
    return token.subject(config.identity.service_account, config.workload.namespace)


def proxy_owner(config: Config) -> tuple[int, int]:
    """uid and gid that the proxy runs as. Raises KeyError: there is no user of that name."""
    return owner(config.proxy.user)


def owner(user: str) -> tuple[int, int]:
    """uid and gid by name or uid; for a uid without an entry, the gid is the same number. Raises KeyError."""
    if not user.isdecimal():
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry.pw_gid
    try:
        return int(user), pwd.getpwuid(int(user)).pw_gid
    except KeyError:
        return int(user), int(user)


def _outbound(redirect: RedirectConfig) -> bool:
    outbound = outbound_of(redirect.mode, redirect.outbound)
    return goes_out(outbound, redirect.outbound_networks, redirect.outbound_uids)


def _texts(values: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def operators(config: Config) -> int | None:
    """The gid of `socket.operators`; None without such a group. Looked up each time: it may be created later."""
    name = config.socket.operators
    if not name:
        return None
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None
