"""The addresses of the proxy's slots on lo, and nothing else of lo.

Law: what is removed is ours. An IPv4 address is by its label. One of IPv6 has no label: it is ours if the record
names it, which is written before the address is there, and lo has it alone (/128).

The kernel answers ARP for every address that it has, of whatever interface. So a table of their own keeps
neighbours from asking for these: another host of the link may use the same, by RFC 3927. To neighbours of IPv6 it
answers for the addresses of the asked interface alone.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping, Set
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from agent.core.reason import Reason
from agent.core.redirect import Address, Network
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files, iproute, programs

_LABEL: Final = "lo:fairlead"
# What is deprecated is never the source of a connection that names none. Nobody else can have an address of lo, so
# nobody is asked; and there is no way to it but lo, so no route is needed.
_WORDS: Final = {
    4: ("scope", "host", "label", _LABEL),
    6: ("nodad", "noprefixroute", "preferred_lft", "0"),
}

Held = tuple[str, Mapping[str, Any]]  # an interface, and an address of it as `ip` reports that


def add(prefix: Path, addresses: Iterable[Address], network: Network) -> None:
    """They are there afterwards. Raises Refusal: another interface of this host has a part of their network."""
    wanted, held, recorded = frozenset(addresses), list(_held()), _recorded(prefix)
    missing = wanted - {_address(one) for one in held if _is_ours(one, recorded)}
    if network.version == 4:
        _hide(network)
    if not missing:
        return
    if other := _used(held, network, recorded):
        detail = f"cannot use {network} for slots: {other}; set proxy.slot_network"
        raise Refusal(detail, Reason.REDIRECT_REFUSED)
    _record(prefix, recorded | wanted)
    for address in sorted(missing, key=str):
        _ip("address", "add", f"{address}/{address.max_prefixlen}", "dev", "lo", *_WORDS[address.version])


def absent(addresses: Iterable[Address]) -> list[Address]:
    """Those that this host has lost, as an interface loses its IPv6 addresses when it is set down. Where it may
    bind what it does not have (ip_nonlocal_bind), none."""
    return [address for address in addresses if _is_absent(address)]


def _is_absent(address: Address) -> bool:
    import socket  # few requests are of a host with slots

    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind((str(address), 0))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def used(prefix: Path, network: Network) -> str:
    """What of that network this host has that is not ours, as "eth0 has 169.254.41.7"; "": nothing. Raises
    Refusal."""
    return _used(_held(), network, _recorded(prefix))


def _used(held: Iterable[Held], network: Network, recorded: Set[Address]) -> str:
    found = (one for one in held if _address(one) in network and not _is_ours(one, recorded))
    return next((f"{name} has {one['local']}" for name, one in found), "")


def remove(prefix: Path, needed: Set[Address] = frozenset()) -> None:
    """All of ours but these. Raises Refusal."""
    if not Host(prefix).slot_addresses.exists():
        return
    recorded = _recorded(prefix)
    for name, one in _held("dev", "lo"):
        if _is_ours((name, one), recorded) and ip_address(one["local"]) not in needed:
            _ip("address", "delete", f"{one['local']}/{one['prefixlen']}", "dev", "lo")
    hidden = not recorded or _has_four(recorded)  # versions that had IPv4 alone recorded no address
    if hidden and not _has_four(needed):
        _run("nft", "-f", "-", input="add table arp fairlead\ndelete table arp fairlead\n")
    if not needed:
        files.remove(Host(prefix).slot_addresses)
    elif needed != recorded:
        _record(prefix, needed)


def _held(*which: str) -> Iterator[Held]:
    for link in iproute.ip("address", "show", *which):
        yield from ((str(link["ifname"]), one) for one in link.get("addr_info", []) if "local" in one)


def _address(held: Held) -> Address:
    return ip_address(held[1]["local"])


def _is_ours(held: Held, recorded: Set[Address]) -> bool:
    name, one = held
    if one.get("family") == "inet":
        return name == "lo" and one.get("label") == _LABEL
    return name == "lo" and one.get("prefixlen") == 128 and ip_address(one["local"]) in recorded


def _recorded(prefix: Path) -> frozenset[Address]:
    """Those that are ours, or are about to be. Raises Refusal."""
    path = Host(prefix).slot_addresses
    return frozenset(map(ip_address, files.read(path).split())) if path.exists() else frozenset()


def _record(prefix: Path, addresses: Iterable[Address]) -> None:
    files.write(Host(prefix).slot_addresses, "".join(f"{address}\n" for address in sorted(addresses, key=str)))


def _has_four(addresses: Iterable[Address]) -> bool:
    return any(address.version == 4 for address in addresses)


def _hide(network: Network) -> None:
    """Neither asked for nor announced on any link."""
    _run("nft", "-f", "-", input=_HIDDEN.format(network=network))


_HIDDEN: Final = """\
add table arp fairlead
delete table arp fairlead
table arp fairlead {{
  chain asked {{ type filter hook input priority 0; arp daddr ip {network} drop; }}
  chain announced {{ type filter hook output priority 0; arp saddr ip {network} drop; }}
}}
"""


def _ip(*words: str) -> None:
    _run("ip", *words, unless="File exists")


def _run(name: str, *words: str, input: str = "", unless: str = "") -> None:
    """`unless`: what it may say where it fails. Raises Refusal."""
    program = programs.find(name)
    if program is None:
        raise Refusal(f"cannot set the addresses of slots: there is no program {name}", Reason.REDIRECT_FAILED)
    done = programs.run(program, *words, input=input)
    if done.returncode != 0 and not (unless and unless in done.stderr):
        raise Refusal(f"cannot set the addresses of slots: {done.stderr.strip()}", Reason.REDIRECT_FAILED)
