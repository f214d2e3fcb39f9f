"""Whether the nameservers of a resolv.conf have records of a name, as linkerd2-proxy asks them.

The proxy reads that file and no nsswitch.conf: a host's programs may find a name that it does not. It asks for SRV
records first, then for addresses, and takes addresses of /etc/hosts too. Only the head of an answer is read: its
code, and how many records it has.
"""

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from agent.host import reading

RESOLV_CONF, HOSTS = Path("/etc/resolv.conf"), Path("/etc/hosts")
KINDS: Final = {"SRV": 33, "A": 1, "AAAA": 28}  # in the order in which the proxy asks
_CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "no such name", 4: "NOTIMP", 5: "REFUSED"}
_HEAD: Final = struct.Struct(">6H")
_EACH: Final = 0.8  # seconds for one answer; with three nameservers, less than a check has
_ANSWER, _RECURSE = 0x8000, 0x0100


@dataclass(frozen=True)
class Found:
    """`by`: "SRV", "A", "AAAA", a file, or "" with `why` there is nothing."""

    by: str
    why: str = ""


class _Silent(Exception):
    """Says why a nameserver gives no answer."""


async def look(name: str) -> Found:
    """Of an address, "A" or "AAAA" without a question."""
    try:
        return Found("A" if ip_address(name.strip("[]")).version == 4 else "AAAA")
    except ValueError:
        pass
    servers, suffixes, unread = _read(RESOLV_CONF)
    names = [name] if name.endswith(".") else [f"{name}.", *(f"{name}.{suffix}." for suffix in suffixes)]
    causes = [f"{RESOLV_CONF}: {unread or 'no nameserver'}"] if not servers else []
    for server in servers:
        try:
            for one in names:
                for kind in KINDS:
                    code, count = await _asked(server, one, KINDS[kind])
                    if count:
                        return Found(kind)
            causes.append(f"{server}: {_CODES.get(code, 'neither SRV records nor addresses')}")
        except _Silent as silent:
            causes.append(f"{server}: {silent}")
    if name.rstrip(".").lower() in _static(HOSTS):
        return Found(str(HOSTS))
    return Found("", f"{name}: {'; '.join(causes)} (by {RESOLV_CONF})")


def _read(path: Path) -> tuple[Sequence[str], Sequence[str], str]:
    """Nameservers, domains to search, and why the file cannot be read."""
    servers: list[str] = []
    suffixes: list[str] = []
    try:
        lines = reading.text(path, reading.RECORD, links=True).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return (), (), getattr(error, "strerror", None) or "not UTF-8 text"
    for line in lines:
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *given]:
                suffixes = [one.rstrip(".") for one in given]
    return servers[:3], suffixes, ""


def _static(path: Path) -> set[str]:
    try:
        lines = reading.text(path, reading.DOCUMENT, links=True).splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {name.lower() for line in lines for name in line.partition("#")[0].split()[1:]}


async def _asked(server: str, name: str, kind: int) -> tuple[int, int]:
    """The code of the answer, and how many records it has. Raises _Silent."""
    number = secrets.randbits(16)
    query = _HEAD.pack(number, _RECURSE, 1, 0, 0, 0) + _labels(name) + struct.pack(">2H", kind, 1)
    try:
        version = ip_address(server.partition("%")[0]).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
            asking.connect((server, 53))
            asking.send(query)
            async with asyncio.timeout(_EACH):
                while True:
                    answer = await asyncio.get_running_loop().sock_recv(asking, 4096)
                    if len(answer) >= _HEAD.size and answer[:2] == query[:2]:
                        _, flags, _, count, _, _ = _HEAD.unpack_from(answer)
                        if flags & _ANSWER:
                            return flags & 0xF, count
    except TimeoutError:
        raise _Silent(f"no answer in {_EACH:g} s") from None
    except (OSError, ValueError) as error:
        raise _Silent(
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        ) from None


def _labels(name: str) -> bytes:
    """Raises _Silent: no question can be made of it."""
    labels = name.rstrip(".").encode(errors="replace").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise _Silent("it is not a name of DNS")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
