"""The ports that operators log in by: by the kernel's listeners, and by the configuration of sshd and systemd.

Law: only a socket of root that a process of root holds is evidence. Any user may name a process sshd.
"""

import functools
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from agent.core.redirect import Address
from agent.host import listeners
from agent.privileged.system import processes, programs

_WITHIN: Final = 1.0  # seconds for each program

# Servers of SSH, as the kernel names their processes.
SERVERS: Final = frozenset({"sshd", "dropbear", "tinysshd", "tailscaled", "teleport"})


def ports(session: frozenset[int] = frozenset()) -> frozenset[int]:
    """The TCP ports by which an operator may come in: those on which a server of SSH listens in this network
    namespace, is configured to, or has systemd listen, and those of the session that asks."""
    return listening(SERVERS) | _configured() | _of_socket_units() | session


def listening(names: frozenset[str]) -> frozenset[int]:
    """The TCP ports of this network namespace on which a process of root with one of these names listens."""
    return frozenset(port for _, port in places(names))


def places(names: frozenset[str]) -> frozenset[tuple[Address, int]]:
    """The same, with the address of each; "::" or "0.0.0.0" where it is every one. Raises Refusal."""
    listen = {one.inode: one.place for one in listeners.listening() if one.uid == processes.ROOT}
    sockets = processes.sockets(frozenset(name.encode() for name in names)) if listen else frozenset()
    found = (listen[inode] for inode in sockets & listen.keys())
    return frozenset((ip_address(address), port) for address, port in found)


def of_configuration(text: str) -> frozenset[int]:
    """What `sshd -T` says: lower-case keywords, a line each."""
    words = [line.split() for line in text.splitlines()]
    ports = {int(line[1]) for line in words if line[:1] == ["port"] and line[1].isdecimal()}
    listen = {line[1].rpartition(":")[2] for line in words if line[:1] == ["listenaddress"]}
    return frozenset(ports | {int(port) for port in listen if port.isdecimal()})


def of_sockets(text: str) -> frozenset[int]:
    """What `systemctl show` says of socket units, a paragraph each."""
    ports = set()
    for unit in text.split("\n\n"):
        lines = [line.partition("=") for line in unit.splitlines()]
        if ("UnitFileState", "=", "enabled") in lines or ("ActiveState", "=", "active") in lines:
            streams = [value.removesuffix(" (Stream)") for key, _, value in lines if key == "Listen"]
            ports |= {int(port) for port in (one.rpartition(":")[2] for one in streams) if port.isdecimal()}
    return frozenset(ports)


# Read once, since this program serves one request; listeners are read each time.
@functools.cache
def _configured() -> frozenset[int]:
    """Where sshd cannot start with its configuration, or does not say it in time, the present listeners count."""
    program = programs.find("sshd")
    return of_configuration(_said(program, "-T")) if program else frozenset()


@functools.cache
def _of_socket_units() -> frozenset[int]:
    """Where systemd does not run, it listens for no unit."""
    program = programs.find("systemctl")
    if program is None or not Path("/run/systemd/system").exists():
        return frozenset()
    asked = ("--property=Listen", "--property=UnitFileState", "--property=ActiveState")
    return of_sockets(_said(program, "show", *asked, "ssh.socket", "sshd.socket"))


def _said(program: str, *arguments: str) -> str:
    try:
        return programs.run(program, *arguments, within=_WITHIN).stdout
    except programs.TookTooLong:
        return ""
