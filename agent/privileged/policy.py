"""What may be redirected on this host: root's configuration, and never a port by which an operator comes in."""

import pwd
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from agent import config
from agent.core.reasons import Reason
from agent.core.redirect import Address, RedirectSpec, refused_ports
from agent.privileged import Refusal, files, sshd


def spec(prefix: Path) -> RedirectSpec:
    """The specification that PREFIX/etc/fairlead/fairlead.toml stands for. Raises Refusal."""
    return _spec(_config(prefix))


def approved(prefix: Path) -> RedirectSpec:
    """The same, where its rules would take nobody's way in as things stand now. Raises Refusal."""
    found = _config(prefix)
    if found.redirect.mode == "off":
        raise Refusal('cannot redirect: redirect.mode is "off"', Reason.REDIRECT_REFUSED)
    wanted = _spec(found)
    if ports := refused_ports(wanted, sshd.ports()):
        listed = ", ".join(map(str, sorted(ports)))
        raise Refusal(f"cannot redirect port {listed}: sshd listens there", Reason.REDIRECT_REFUSED)
    return wanted


def _config(prefix: Path) -> config.Config:
    path = prefix / "etc/fairlead/fairlead.toml"
    try:
        return config.parse(files.read(path))
    except config.ConfigError as error:
        raise Refusal(f"cannot use {path}: {error}") from None


def _spec(found: config.Config) -> RedirectSpec:
    exempt = [(endpoint.address, endpoint.port) for endpoint in found.redirect.exempt]
    return RedirectSpec(
        proxy_uid=_uid(found.proxy.user),
        addresses=found.host.addresses,
        ports=frozenset(found.workload.ports),
        networks=found.redirect.outbound_networks,
        exempt=(*exempt, *_api_server(found.api.server)),
    )


def _uid(user: str) -> int:
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise Refusal(f"cannot find the proxy's user {user!r}: no such user") from None
    if uid == 0:
        # Exempting root would exempt every system service; not exempting the proxy would make it a loop.
        raise Refusal(f"cannot exempt the proxy's user {user!r}: it is root", Reason.REDIRECT_REFUSED)
    return uid


def _api_server(url: str) -> list[tuple[Address, int]]:
    """The API server is exempt where the configuration names it by address."""
    parts = urlsplit(url)
    try:
        return [(ip_address(parts.hostname or ""), parts.port or 443)]
    except ValueError:
        return []
