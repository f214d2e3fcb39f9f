"""What a host shows without its agent: phase, units, proxy, listeners, live rules, the end of the journal.

Each line has its source. A part that cannot be read says why; none of them changes the host, and all together end
within little more than five seconds.
"""

import asyncio
import os
import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.adapters import phase, proxy_reading, spawn, units
from agent.adapters.helper import Helper
from agent.adapters.proxy_reading import ADMIN
from agent.adapters.system_bus import BusError
from agent.core import proxy, text
from agent.core.proxy_pages import REFUSED, UNREADABLE
from agent.host import Host
from agent.offline import helper, redirect
from agent.ports import Trouble
from agent.privileged import Refusal
from agent.privileged.redirect import live_rules

UNITS: Final = (
    "fairlead.service",
    "fairlead-proxy.service",
    "fairlead-proxy-standby.service",
    "fairlead-redirect.service",
    "fairlead-drain.service",
    "fairlead-helper.socket",
)
_JOURNAL: Final = ("fairlead.service", "fairlead-proxy.service", "fairlead-proxy-standby.service")
_LINES: Final = 5  # of the journal
_WITHIN: Final = 5.0  # seconds for the journal
NEEDS_ROOT: Final = "not read: needs root"


@dataclass(frozen=True)
class Seen:
    """`since`: seconds since the epoch, where it is known."""

    what: str
    text: str
    source: str
    since: float | None = None


def look(prefix: str) -> list[Seen]:
    """What this user may see. Below a prefix there are neither units nor a journal: those are the machine's."""
    seen = asyncio.run(_look(prefix))
    return [*seen, _rules(prefix)]


async def _look(prefix: str) -> list[Seen]:
    below = Host.below(prefix).prefix != Host().prefix
    machine = _nothing() if below else _units()
    journal = _nothing() if below else _journal()
    parts = await asyncio.gather(_phase(prefix), machine, _ready(), journal)
    first, states, ready, lines = parts
    return [*first, *states, *ready, *_listeners(), *lines]


async def _nothing() -> list[Seen]:
    return []


async def _phase(prefix: str) -> list[Seen]:
    host = Host.below(prefix)
    try:
        found = (await phase.HelperPhaseStore(prefix, Helper(str(host.prefix))).read()).value
    except Trouble as trouble:
        found = f"not read: {trouble.detail}"
    return [Seen("phase", found, str(host.phase))]


async def _units() -> list[Seen]:
    try:
        found = await units.now(UNITS)
    except BusError as error:
        return [Seen("units", f"not read: {text.detail(str(error))}", "systemd")]
    return [
        Seen(unit, _state(one), "systemd", one.since if one.loaded == "loaded" and one.since else None)
        for unit, one in found.items()
    ]


def _state(unit: units.UnitNow) -> str:
    return f"{unit.active} ({unit.sub})" if unit.loaded == "loaded" else unit.loaded


async def _ready() -> list[Seen]:
    status = await proxy_reading.ready_status()
    said = {200: "ready", 503: "not ready", REFUSED: "does not run: nothing listens"}.get(status)
    if said is None:
        said = "not known: no answer" if status == UNREADABLE else f"not known: it answers {status}"
    return [Seen("proxy", said, f"{ADMIN.host}:{ADMIN.port}/ready")]


def _listeners() -> Iterator[Seen]:
    """On the ports of the proxy, and whose they are."""
    ports = (proxy.INBOUND_PORT, proxy.OUTBOUND_PORT, ADMIN.port)
    try:
        owners = proxy_reading.listeners()
    except OSError as error:
        yield Seen("listeners", f"not read: {error.strerror}", "/proc/net/tcp")
        return
    found = sorted((port, host, uid) for (host, port), uid in owners.items() if port in ports)
    said = ", ".join(f"{host}:{port} of {_user(uid)}" for port, host, uid in found)
    yield Seen("listeners", said or f"none on {', '.join(map(str, sorted(ports)))}", "/proc/net/tcp")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def _journal() -> list[Seen]:
    command = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--lines={_LINES}"]
    source = "journalctl -u " + " -u ".join(_JOURNAL)
    try:
        done = await spawn.run([*command, *(f"--unit={unit}" for unit in _JOURNAL)], within=_WITHIN)
    except spawn.SpawnError as error:
        return [Seen("journal", f"not read: {error}", source)]
    if done.code:
        return [Seen("journal", f"not read: {text.detail(done.explain())}", source)]
    lines = _said(done.output.decode(errors=text.READ).splitlines())
    return [Seen("journal", line, source) for line in lines] or [Seen("journal", _silent(), source)]


def _said(lines: Sequence[str]) -> list[str]:
    return [text.detail(line) for line in lines if line.strip()]


def _silent() -> str:
    return "nothing" if os.geteuid() == 0 else "nothing that this user may read"


def _rules(prefix: str) -> Seen:
    source = "the kernel's rules"
    if os.geteuid() != 0:
        return Seen("redirect", NEEDS_ROOT, source)
    try:
        found = redirect.read(prefix)
    except helper.Refused as refused:
        return Seen("redirect", _uninterpreted(prefix, text.detail(refused.fault.detail)), source)
    if found.unread:
        return Seen("redirect", f"not read: {text.detail(found.unread.detail)}", source)
    return Seen("redirect", f"inbound {found.inbound.value}, outbound {found.outbound.value}", source)


def _uninterpreted(prefix: str, why: str) -> str:
    """Which level the rules are cannot be told without a configuration; whether there are any can."""
    try:
        rules = live_rules.read(Host.below(prefix).prefix).rules
    except Refusal as refusal:
        return f"not read: {text.detail(refusal.detail)}"
    held = (
        "no rules of fairlead" if rules is None else f"{sum(len(c.rules) for c in rules.chains)} rules of fairlead"
    )
    return f"{held}; their level is not known: {why}"
