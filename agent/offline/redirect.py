"""The redirect as it is planned and as it is live, read without the agent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.adapters import interfaces
from agent.config import HostConfig
from agent.config.refusals import refusals
from agent.core.facts import Level
from agent.core.reasons import Fault, Reason
from agent.core.redirect import RedirectSpec, Ruleset, levels, ruleset
from agent.core.redirect.admission import Admission, Seen
from agent.core.redirect.departure import Departure
from agent.core.redirect.spec import differences_from_guide
from agent.core.redirect.timed import Live
from agent.core.redirect.unproxied import unproxied
from agent.core.replacement_way import Obstacle, obstacle
from agent.host import Host
from agent.host.listeners import listening
from agent.offline import replacement_way
from agent.offline.helper import Refused
from agent.ports import Trouble
from agent.privileged import Refusal
from agent.privileged.redirect import (
    admission,
    departures,
    greetings,
    guide_chains,
    live_rules,
    records,
    specification,
)
from agent.privileged.system import configuration, listeners, session


@dataclass(frozen=True)
class Redirect:
    """What the configuration asks for, and what is live. `refused`: why the privileged helper would not set it.
    `unread`: why the live rules are not known, where they are not.
    `guide`: where this differs from Linkerd's guide, if requested."""

    spec: RedirectSpec
    planned: Ruleset | None
    live: Live
    inbound: Level  # by the configuration in force
    outbound: Level
    as_planned: bool  # what is live is a level of these very rules
    admission: Admission  # whether the host's own firewall lets peers in
    departures: tuple[Departure, ...] = ()  # whether it lets outbound connections reach the proxy
    edited: Fault | None = None  # the configuration is not the one in force
    refused: Fault | None = None
    unread: Fault | None = None
    suspended: str = ""
    guide: tuple[str, ...] = ()
    hand_made: tuple[str, ...] = ()  # the guide's chains on this host
    refusals: tuple[str, ...] = ()  # what is refused to whom while the proxy is not ready
    ready_once: bool = False  # this host has been Ready since it was configured
    unproxied: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # port → other addresses of this host
    replacement: Obstacle | None = None  # why the proxy is replaced after a drain; None: without one
    absent: Fault | None = None  # addresses of the configuration that this host does not have; or lo is down


def read(prefix: str) -> Redirect:
    """Reads only, and needs root only for the live rules. Raises Refused: there is no usable configuration."""
    root = Host.below(prefix).prefix
    try:
        spec, config = specification.spec(root), configuration.read(root)
    except Refusal as refusal:
        raise Refused(_fault(refusal)) from None
    redirected, control = config.redirect, config.control_plane
    outbound = Level.ON if listeners.outbound(spec) else Level.RELEASED
    off = redirected.mode == "off"
    planned = ruleset(spec, Level.RELEASED, Level.RELEASED) if off else ruleset(spec, Level.ON, outbound)
    found, unread = _live(root)
    firewall = admission.seen()
    source = live_rules.source(root, found)
    hand_made = () if unread else guide_chains.chains()
    differences = differences_from_guide(spec) if redirected.mode == "linkerd-guide" else ()
    return Redirect(
        spec,
        planned,
        found,
        *_levels(source, found),
        as_planned=Level.PARTIAL not in levels(spec, found.rules),
        admission=admission.admission(firewall, spec, redirected.outbound_networks or control.cluster_networks),
        departures=tuple(departures.judged(firewall, spec)),
        edited=_edited(root, source),
        refused=None if off else _refused(root, firewall),
        unread=unread,
        suspended=_suspended(root),
        guide=differences,
        hand_made=hand_made,
        refusals=tuple(refusals(config)),
        ready_once=_ready_once(root),
        unproxied=_unproxied(spec),
        replacement=obstacle(replacement_way.read(config, prefix)),
        absent=_absent(config.host),
    )


def _absent(host: HostConfig) -> Fault | None:
    """As the agent judges it. Where the kernel reports nothing, no fault is claimed."""
    if host.address_translated:
        return None
    try:
        fault = interfaces.absent([str(address) for address in host.addresses])
    except Trouble as trouble:
        return trouble.fault if trouble.reason is Reason.LOOPBACK_DOWN else None
    return Fault(Reason.ADDRESS_ABSENT, ", ".join(fault)) if fault else None


def _unproxied(spec: RedirectSpec) -> Mapping[int, tuple[str, ...]]:
    """Nothing is claimed where the kernel reports nothing."""
    try:
        return unproxied(spec, (one.place for one in listening()), interfaces.addresses())
    except Trouble:
        return {}


def _ready_once(root: Path) -> bool:
    try:
        return records.ready_once(root, configuration.member(root, root))
    except Refusal as refusal:
        raise Refused(_fault(refusal)) from None


def _levels(source: Path, found: Live) -> tuple[Level, Level]:
    try:
        return live_rules.levels(source, found)
    except Refusal as refusal:
        raise Refused(_fault(refusal)) from None


def _edited(root: Path, source: Path) -> Fault | None:
    differing = specification.edited(root, source)
    return Fault(Reason.REDIRECT_UNAPPROVED, differing) if differing else None


def _live(root: Path) -> tuple[Live, Fault | None]:
    try:
        return live_rules.read(root), None
    except Refusal as refusal:
        return Live(None), _fault(refusal)


def _refused(root: Path, firewall: Seen | Refusal) -> Fault | None:
    try:
        departures.loopback_must_be_up()
        wanted = specification.approved(root, session.ports())
        admission.tracked(firewall, wanted)
        departures.must_pass(firewall, wanted)
        greetings.must_be_opaque(root, root, Level.ON)
    except Refusal as refusal:
        return _fault(refusal)
    return None


def _suspended(root: Path) -> str:
    try:
        held = records.suspension(root)
    except Refusal as refusal:
        return refusal.detail
    return f"{held.cause.value}: {held.detail}" if held else ""


def _fault(refusal: Refusal) -> Fault:
    return Fault(refusal.reason or Reason.REDIRECT_FAILED, refusal.detail, refusal.remedy)
