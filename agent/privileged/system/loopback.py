"""The addresses of the proxy's slots on lo. They are ours by their label, so nothing else is ever removed.

The kernel answers ARP for every address that it has, of whatever interface. So a table of their own keeps
neighbours from asking for these: another host of the link may use the same, by RFC 3927.
"""

from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from agent.core.reason import Reason
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files, iproute, programs

_LABEL: Final = "lo:fairlead"


def add(prefix: Path, addresses: Iterable[IPv4Address], network: IPv4Network) -> None:
    """They are there afterwards. Raises Refusal: another interface of this host has a part of their network."""
    links = iproute.ip("address", "show")
    held = [(link["ifname"], one) for link in links for one in link.get("addr_info", []) if "local" in one]
    ours = {one["local"] for name, one in held if name == "lo" and one.get("label") == _LABEL}
    missing = [address for address in addresses if str(address) not in ours]
    _hide(network)
    if not missing:
        return
    if other := used(links, network):
        detail = f"cannot use {network} for slots: {other}; set proxy.slot_network"
        raise Refusal(detail, Reason.REDIRECT_REFUSED)
    files.write(Host(prefix).slot_addresses, "\n")  # from now on there may be some to remove
    for address in missing:
        _ip("address", "add", f"{address}/32", "dev", "lo", "scope", "host", "label", _LABEL)


def used(links: Iterable[Mapping[str, Any]], network: IPv4Network) -> str:
    """What of that network this host has that is not ours, as "eth0 has 169.254.41.7"; "": nothing. `links`: of
    `ip address`."""
    for link in links:
        for one in link.get("addr_info", []):
            there = one.get("family") == "inet" and IPv4Address(one["local"]) in network
            if there and one.get("label") != _LABEL:
                return f"{link['ifname']} has {one['local']}"
    return ""


def remove(prefix: Path, needed: Set[IPv4Address] = frozenset()) -> None:
    """All of ours but these. Raises Refusal."""
    if not Host(prefix).slot_addresses.exists():
        return
    for link in iproute.ip("address", "show", "dev", "lo"):
        for one in link.get("addr_info", []):
            if one.get("label") == _LABEL and IPv4Address(one["local"]) not in needed:
                _ip("address", "delete", f"{one['local']}/{one['prefixlen']}", "dev", "lo")
    if not needed:
        _run("nft", "-f", "-", input="add table arp fairlead\ndelete table arp fairlead\n")
        files.remove(Host(prefix).slot_addresses)


def _hide(network: IPv4Network) -> None:
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
