"""What may be redirected on this host: root's configuration, and never a port that operators log in by."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from agent.core.addresses import address
from agent.core.facts import Level
from agent.core.late import replace
from agent.core.reason import Reason
from agent.core.redirect import (
    SSH_PORT,
    Address,
    Exceptions,
    Inbound,
    Network,
    Outbound,
    RedirectSpec,
    caught_ports,
    refused_ports,
    swallowed,
)
from agent.core.redirect.spec import GUIDE_INBOUND_EXCEPT, GUIDE_OUTBOUND_EXCEPT, outbound_of
from agent.core.slots import Place
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.redirect import host_rules, records, request_cache
from agent.privileged.redirect.host_rules import Exempt
from agent.privileged.system import configuration

if TYPE_CHECKING:
    from agent import config

# Of linkerd-destination and the policy controller, where the configuration names none.
_CONTROL_PORTS: Final = (8086, 8090)

NOTHING: Final = RedirectSpec(proxy_uid=65534, guarded=False)  # of a host whose configuration cannot be used


def spec(prefix: Path) -> RedirectSpec:
    """The specification that PREFIX/etc/fairlead/fairlead.toml stands for, with the slot that is active. Raises
    Refusal."""
    return _spec(configuration.read(prefix), prefix)


def outline(prefix: Path) -> RedirectSpec:
    """The same, without lookups on this host: what was exempt last stays exempt, and what was found to be left out
    of what is closed is left out. Raises Refusal."""
    closing = request_cache.known(("closing", prefix))
    if isinstance(closing, RedirectSpec):
        return closing
    config, known = configuration.read(prefix), host_rules.remembered()
    if known is None and every_port(config):
        raise Refusal("cannot find the ports of SSH and of containers: no redirect was set yet")
    return _spec(config, prefix, known or Exempt())


def goes_out(prefix: Path) -> bool:
    """There is something that goes out through the proxy. Raises Refusal."""
    return _spec(configuration.read(prefix), prefix, Exempt()).outward


def approved(prefix: Path, session: frozenset[int] = frozenset()) -> RedirectSpec:
    """The same, if its rules would cut off no operator. `session`: the ports of the requesting session. Raises
    Refusal."""
    parsed = _redirecting(prefix)
    wanted = _spec(parsed, prefix)
    if ports := refused_ports(wanted, _ssh_ports()):
        listed = ", ".join(map(str, sorted(ports)))
        raise Refusal(f"cannot redirect port {listed}: sshd listens there", Reason.REDIRECT_REFUSED)
    if lost := session & caught_ports(wanted):
        raise Refusal(f"cannot redirect port {min(lost)}: this session uses it", Reason.REDIRECT_REFUSED)
    for network, subnet in _swallowed(parsed, wanted):
        detail = f"cannot redirect {network} without redirect.force: it contains {subnet}, a subnet of this host"
        raise Refusal(detail, Reason.REDIRECT_REFUSED)
    return wanted


def closing(prefix: Path) -> RedirectSpec:
    """The same, if it is only closed: a port or a network that would cut off an operator is left out, and the rest
    is closed. Raises Refusal."""
    return request_cache.once(("closing", prefix), lambda: _closing(prefix))


def _closing(prefix: Path) -> RedirectSpec:
    parsed = _redirecting(prefix)
    wanted = _spec(parsed, prefix)
    lost = {network for network, _ in _swallowed(parsed, wanted)}
    return replace(
        wanted,
        ports=wanted.ports - refused_ports(wanted, _ssh_ports()),
        networks=tuple(network for network in wanted.networks if network not in lost),
    )


def _redirecting(prefix: Path) -> config.Config:
    """The configuration, unless it wants no redirect. Raises Refusal."""
    parsed = configuration.read(prefix)
    if parsed.redirect.mode == "off":
        detail = f'cannot redirect: redirect.mode is "off" in {Host(prefix).configuration}'
        raise Refusal(detail, Reason.REDIRECT_REFUSED)
    return parsed


def of_levels(prefix: Path, levels: Iterable[Level], session: frozenset[int] = frozenset()) -> RedirectSpec:
    """The one that may be set at these levels. Raises Refusal."""
    wanted = frozenset(levels)
    if wanted <= {Level.OFF, Level.RELEASED}:
        return letting_go(prefix)
    return approved(prefix, session) if Level.ON in wanted else closing(prefix)


def letting_go(prefix: Path) -> RedirectSpec:
    """The specification while nothing is redirected: its guard stays, for peers dial the proxy itself. RELEASED
    works even where lookups on this host fail, or the configuration is broken."""
    for read in (spec, outline):
        try:
            return read(prefix)
        except Refusal:
            continue
    return NOTHING


def _swallowed(found: config.Config, wanted: RedirectSpec) -> tuple[tuple[Network, Network], ...]:
    if found.redirect.force:
        return ()
    from agent.privileged.system import subnets

    return swallowed(wanted, subnets.connected())


def edited(prefix: Path, in_force: Path) -> str:
    """How the redirect of PREFIX's configuration differs from the one in force, for people; "": it does not."""
    if in_force == prefix:
        return ""
    try:
        now, then = _stated(configuration.read(prefix)), _stated(configuration.read(in_force))
    except Refusal as refusal:
        return refusal.detail
    return ", ".join(key for key in now if now[key] != then[key])


def _stated(parsed: config.Config) -> dict[str, object]:
    """The keys that decide rules and levels."""
    return {
        "workload.ports": sorted(parsed.workload.ports),
        "host.addresses": parsed.host.addresses,
        "proxy.user": parsed.proxy.user,
        "proxy.slots": (parsed.proxy.slots, parsed.proxy.slot_network),
        "api.server": parsed.api.server,
        "control_plane": sorted(control_ports(parsed.control_plane)),
        **{f"redirect.{key}": value for key, value in vars(parsed.redirect).items()},
    }


def backend(prefix: Path) -> str:
    """What the configuration says about the kind of firewall; "auto" where it cannot be read, so that RELEASED
    works there too."""
    try:
        return configuration.read(prefix).redirect.backend
    except Refusal:
        return "auto"


def controller(source: Path) -> str:
    """HOST:PORT of the policy controller. Raises Refusal."""
    from agent.core import control_plane

    controllers = configuration.read(source).control_plane
    return control_plane.policy_address(controllers.policy, controllers.namespace, controllers.cluster_domain)


def _exempt(parsed: config.Config) -> Exempt:
    """Only rules for every port depend on the present listeners."""
    if not every_port(parsed):
        return Exempt()
    from agent.privileged.redirect import published  # most requests look at no rules of others

    return Exempt(_ssh_ports(), published.ports(parsed.host.addresses))


def _ssh_ports() -> frozenset[int]:
    from agent.privileged.system import sshd  # nor at listeners

    return sshd.ports()


def every_port(found: config.Config) -> bool:
    """Its rules, or while off and without declared ports its guard, name the ports that are left out."""
    if found.redirect.mode == "off":
        return not found.workload.ports
    return found.redirect.mode == "linkerd-guide" or found.redirect.inbound == "all"


def _spec(parsed: config.Config, source: Path, exempt: Exempt | None = None) -> RedirectSpec:
    from agent.config import slotted  # which loads what a configuration is

    place = slotted.place(parsed, records.active_slot(records.host(source)))
    return named(_without_slot(parsed, exempt or _exempt(parsed)), place)


def named(spec: RedirectSpec, place: Place | None) -> RedirectSpec:
    """The same, with this slot."""
    if place is None:
        return spec
    return replace(spec, inbound_at=place.address, outbound_listener=place.outbound_port, private=place.network)


def _without_slot(parsed: config.Config, exempt: Exempt) -> RedirectSpec:
    redirect = parsed.redirect
    guide, off = redirect.mode == "linkerd-guide", redirect.mode == "off"
    inbound = Inbound.ALL if guide else Inbound.OFF if off else Inbound(redirect.inbound)
    outbound = Outbound.OFF if off else outbound_of(redirect.mode, redirect.outbound)
    return RedirectSpec(
        proxy_uid=_proxy_uid(parsed.proxy.user),
        addresses=parsed.host.addresses,
        ports=frozenset(parsed.workload.ports),
        networks=redirect.outbound_networks,
        exempt=(*((one.address, one.port) for one in redirect.exempt), *_api_server(parsed.api.server)),
        inbound=inbound,
        outbound=outbound,
        uids=_numbers(redirect.outbound_uids, _uid),
        inbound_except=Exceptions(
            ports=GUIDE_INBOUND_EXCEPT if guide else _ports(redirect.inbound_except_ports),
            networks=redirect.inbound_except_networks,
            interfaces=frozenset(redirect.inbound_except_interfaces),
        ),
        outbound_except=Exceptions(
            ports=GUIDE_OUTBOUND_EXCEPT if guide else _ports(redirect.outbound_except_ports),
            networks=redirect.outbound_except_networks,
            interfaces=frozenset(redirect.outbound_except_interfaces),
            uids=_numbers(redirect.outbound_except_uids, _uid),
            gids=_numbers(redirect.outbound_except_gids, _gid),
        ),
        ssh_ports=exempt.ssh | {SSH_PORT},
        published=exempt.published,
        control_ports=frozenset(control_ports(parsed.control_plane)),
    )


def _ports(ranges: Iterable[tuple[int, int]]) -> frozenset[int]:
    return frozenset(port for first, last in ranges for port in range(first, last + 1))


def control_ports(controllers: config.ControlPlaneConfig) -> Iterable[int]:
    for named, usual in zip((controllers.destination, controllers.policy), _CONTROL_PORTS, strict=True):
        yield int(named.rpartition(":")[2]) if named else usual
    if controllers.identity:  # token mode; unnamed it is a pod, and never an address of this host
        yield int(controllers.identity.rpartition(":")[2])


def _proxy_uid(user: str) -> int:
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        detail = f"cannot find the proxy's user {user!r}: create it, or correct proxy.user"
        raise Refusal(detail, Reason.CONFIGURATION_UNUSABLE) from None
    if uid == 0:
        # Exempting root would exempt every system service; not exempting the proxy would make it a loop.
        raise Refusal(f"cannot exempt the proxy's user {user!r}: it is root", Reason.REDIRECT_REFUSED)
    return uid


def _numbers(names: Iterable[str], number: Callable[[str], int]) -> frozenset[int]:
    ports = set()
    for name in names:
        try:
            ports.add(int(name) if name.isdecimal() else number(name))
        except KeyError:
            detail = f"cannot find {name!r}: there is no such user or group; correct the redirect section"
            raise Refusal(detail, Reason.CONFIGURATION_UNUSABLE) from None
    return frozenset(ports)


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


def _api_server(url: str) -> list[tuple[Address, int]]:
    """The API server is exempt where the configuration names it by address."""
    parts = urlsplit(url)
    try:
        return [(address(parts.hostname or ""), parts.port or 443)]
    except ValueError:
        return []
