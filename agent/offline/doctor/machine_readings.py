"""Readings of the machine and of the running agent."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.adapters import http_client
from agent.adapters.http_client import Broken, Request
from agent.config import changes, derived
from agent.core import releases
from agent.core.doctor import machine
from agent.core.reasons import Fault
from agent.core.replacement_way import Seen
from agent.host import reading
from agent.loops.checks import NotHere, Unread
from agent.offline import replacement_way
from agent.offline.doctor import users
from agent.offline.doctor.plain_faults import fault
from agent.offline.doctor.sources import Sources, blocking

_MOST: Final = 8 << 20  # bytes of a status
_TRACKED: Final = Path("/proc/sys/net/netfilter")
_CGROUPS: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_PROXY: Final = "system.slice/fairlead-proxy.service"


async def agent(sources: Sources) -> machine.Agent:
    return await sources.once("status", lambda: _status(sources.host.socket))


async def _status(path: Path) -> machine.Agent:
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except PermissionError:
        raise NotHere("needs root, or a member of the group fairlead") from None
    except OSError as error:
        return machine.Agent(None, f"{path}: {error.strerror}")
    connection = http_client.Connection(reader, writer)
    try:
        answer = await connection.send(Request("GET", "/v1/status", {"Host": "agent"}))
        body = bytearray()
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > _MOST:
                raise Unread(f"{path}: an answer of more than {_MOST} bytes")
        return machine.Agent(json.loads(body))
    except (Broken, OSError, ValueError) as error:
        return machine.Agent(None, f"{path}: {error}")
    finally:
        connection.abort()


async def certified(sources: Sources, whose: str) -> str:
    """What the running agent knows of its own SVID, or of the proxy's certificate; "": nothing that helps."""
    try:
        status = (await agent(sources)).status
    except (NotHere, Unread):
        return ""
    facts = (status or {}).get("facts", {})
    identity, proxy = facts.get("identity", {}), facts.get("proxy", {})
    match whose:
        case "agent" if isinstance(identity, dict) and identity.get("svid") and identity.get("expires_at", 0) > 0:
            return f"the running agent has an SVID, {identity['expires_at']:.0f} s left"
        case "proxy" if isinstance(proxy, dict) and (proxy.get("certificate_expires_at") or 0) > 0:
            return f"the running proxy has a certificate, {proxy['certificate_expires_at']:.0f} s left"
    return ""


async def helper(sources: Sources) -> Fault | None:
    return fault(await sources.asked(users.agent(sources.config()), "helper"))


async def binary(sources: Sources) -> Fault | None:
    return fault(await sources.asked(users.proxy(sources.config()), "proxy-binary"))


async def versions(sources: Sources) -> machine.Versions:
    status = (await agent(sources)).status or {}
    pid = _proxy(status)
    running = "" if pid is None else await blocking(_version, pid)
    current = derived.proxy_version(sources.config(), sources.prefix)
    used = status.get("configuration_digest")
    edited = used is not None and used != changes.digest(sources.config())
    return machine.Versions(__version__, str(status.get("agent", "")), running, current, edited)


def _proxy(status: Mapping[str, Any]) -> int | None:
    """Its pid, by the agent."""
    proxy = status.get("facts", {}).get("proxy", {})
    process = proxy.get("process") if isinstance(proxy, dict) else None
    return process["pid"] if isinstance(process, dict) else None


def _version(pid: int) -> str:
    """By the path of its program; of others only root sees it."""
    try:
        return releases.installed(str(Path(f"/proc/{pid}/exe").readlink()))
    except OSError:
        return ""


async def disk(sources: Sources) -> machine.Disk:
    place = sources.host.state
    found = await blocking(os.statvfs, place if place.exists() else Path("/"))
    inodes = found.f_favail if found.f_files else -1
    return machine.Disk(str(place), found.f_bavail * found.f_frsize, inodes, not found.f_flag & os.ST_RDONLY)


async def replacement(sources: Sources) -> Seen:
    return await blocking(replacement_way.read, sources.config(), sources.prefix)


async def limits(sources: Sources) -> machine.Used:
    """Of the proxy while the agent names its process."""
    return machine.Used(await blocking(_used, _proxy((await agent(sources)).status or {})))


def _used(pid: int | None) -> Mapping[str, tuple[int, int]]:
    memory = [
        _pair(Path(base) / _PROXY / "memory.current", Path(base) / _PROXY / "memory.max") for base in _CGROUPS
    ]
    found = {
        "connection tracking": _pair(_TRACKED / "nf_conntrack_count", _TRACKED / "nf_conntrack_max"),
        "descriptors of the proxy": None if pid is None else _descriptors(pid),
        "memory of the proxy": next(filter(None, memory), None),
    }
    return {what: amounts for what, amounts in found.items() if amounts is not None}


def _pair(used: Path, limit: Path) -> tuple[int, int] | None:
    """None: not here, or without a limit."""
    try:
        return int(reading.text(used, reading.RECORD)), int(reading.text(limit, reading.RECORD))
    except (OSError, ValueError):
        return None


def _descriptors(pid: int) -> tuple[int, int] | None:
    """Of others only root sees them."""
    try:
        used = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return used, next(_limits(reading.text(Path(f"/proc/{pid}/limits"), reading.RECORD)))
    except (OSError, StopIteration):
        return None


def _limits(text: str) -> Iterator[int]:
    """The soft limit of open files."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            yield int(line.split()[3])
