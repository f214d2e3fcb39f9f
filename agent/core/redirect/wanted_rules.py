"""The rules of a specification at each level, and the level of live rules.

Law: one table, always with the same chains; a level decides the rules in them.

Each direction has two chains. One is of type nat and holds the redirect; the kernel shows it only the first
packet of a connection. The other, of type filter and earlier, holds the block. Both stand empty when
released: without any nat chain the kernel stops translating the streams that were redirected before.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from agent.core.facts import Level
from agent.core.late import replace
from agent.core.redirect.rules import Action, Address, Chain, Match, Network, Rule, Ruleset, canonical, ordered
from agent.core.redirect.spec import LOOPBACK, Exceptions, Inbound, Outbound, RedirectSpec

# Before the chains of other owners (Docker: dstnat, -100), in whatever order they were registered. The
# block comes before the redirect, and after connection tracking (-200).
_REDIRECT, _BLOCK, _GUARD = -110, -150, -160
_PRIVATE, _DIRECT = -160, -111
SKELETON = (
    Chain("guard", "filter", "output", _GUARD),
    Chain("inbound", "nat", "prerouting", _REDIRECT),
    Chain("inbound_block", "filter", "prerouting", _BLOCK),
    Chain("outbound", "nat", "output", _REDIRECT),
    Chain("outbound_block", "filter", "output", _BLOCK),
    Chain("tracking", "filter", "input", 0),
)
# Where the redirect names a slot, four more. Peers dial 4143 themselves at every level, and before a translation
# nothing from outside is for the address of a slot. A connection that comes after the end of the proxy and before
# the rules that follow it is not refused: the client asks again, and is served by those.
SLOTS = (
    Chain("direct", "nat", "prerouting", _DIRECT),
    Chain("slots", "filter", "prerouting", _PRIVATE),
    Chain("unheard", "filter", "output", _PRIVATE),
    Chain("outbound_unheard", "filter", "output", _PRIVATE),
)
_OF_SLOTS = frozenset(chain.name for chain in SLOTS)
_OUTBOUND = frozenset({"outbound", "outbound_block", "outbound_unheard"})
_INBOUND = frozenset({"inbound", "inbound_block", "guard"}) | _OF_SLOTS - _OUTBOUND
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))

# Without connection tracking linkerd2-proxy cannot learn where a connection was going, and resets it. One
# rule that looks at the state keeps tracking on in this network namespace.
_TRACKING = Rule("tracking", Match(tracked=True), Action.LOOK)

Hit = tuple[Action, int, Address | None]


def ruleset(spec: RedirectSpec, inbound: Level, outbound: Level) -> Ruleset | None:
    """The rules for these levels; None is no table at all. Raises ValueError for PARTIAL."""
    inbound, outbound = settle(inbound, outbound)
    if inbound is Level.OFF:
        return None
    rules = {
        **_filled(
            "inbound", inbound, tuple(_inbound(spec, _hit(inbound, spec.inbound_listener, spec.inbound_at)))
        ),
        **_filled("outbound", outbound, tuple(_outbound(spec, _hit(outbound, spec.outbound_listener)))),
        "tracking": (_TRACKING,),
    }
    if spec.guarded:
        # The first tells RELEASED from a redirect whose rules are missing; the guard permits that port anyway.
        let_go = _skip("guard: nothing is redirected inbound", Match(ports=frozenset({spec.inbound_listener})))
        rules["guard"] = (*([let_go] if inbound is Level.RELEASED else []), *_guard(spec))
    rules |= _slots(spec, inbound) | _outbound_slot(spec, outbound)
    chains = sorted((*SKELETON, *(SLOTS if spec.private else ())), key=lambda chain: chain.name)
    return Ruleset(tuple(replace(chain, rules=ordered(rules.get(chain.name, ()))) for chain in chains))


def settle(inbound: Level, outbound: Level) -> tuple[Level, Level]:
    """OFF is for the whole table: beside a direction that needs it, OFF amounts to RELEASED."""
    if (inbound is Level.OFF) is (outbound is Level.OFF):
        return inbound, outbound
    return (Level.RELEASED, outbound) if inbound is Level.OFF else (inbound, Level.RELEASED)


def _filled(direction: str, level: Level, rules: tuple[Rule, ...]) -> dict[str, tuple[Rule, ...]]:
    match level:
        case Level.RELEASED:
            return {}
        case Level.BLOCK:
            return {f"{direction}_block": rules}
        case Level.ON:
            return {direction: rules}
        case _:
            raise ValueError(f"no rules make up the level {level.value}")


def _hit(level: Level, listener: int, at: Address | None = None) -> Hit:
    return (Action.REDIRECT, listener, at) if level is Level.ON else (Action.RESET, 0, None)


# rules ---------------------------------------------------------------------------------------------


def _slots(spec: RedirectSpec, inbound: Level) -> dict[str, tuple[Rule, ...]]:
    if spec.private is None or spec.inbound_at is None:
        return {}
    dialled = Match(ports=frozenset({spec.inbound_listener}), opens=True)
    own = [ip_network(address) for address in spec.addresses]
    hit = (Action.REDIRECT, spec.inbound_listener, spec.inbound_at)
    here = Match(arrives_by=frozenset({"lo"}))
    refusal = Rule("unheard", Match(sources=(spec.private,), resets=True, unheard=True), Action.DROP)
    return {
        "direct": (
            _skip("direct: from this host", here),
            *_hits("direct: the proxy's inbound port", spec, own, dialled, hit),
        ),
        "slots": (
            _skip("slots: from this host", here),
            Rule("slots: from outside", Match(networks=(spec.private,)), Action.DROP),
        ),
        "unheard": (refusal,) if inbound is Level.ON else (),
    }


def _outbound_slot(spec: RedirectSpec, outbound: Level) -> dict[str, tuple[Rule, ...]]:
    """The listener has no address of its own, so only its port tells its refusal from those of other programs."""
    if spec.private is None or outbound is not Level.ON:
        return {}
    listener = Match(from_ports=frozenset({spec.outbound_listener}), resets=True, unheard=True)
    loopbacks = {version: (ip_network(LOOPBACK[version]),) for version in sorted(spec.outward_families)}
    return {
        "outbound_unheard": tuple(
            Rule(f"outbound_unheard, IPv{version}", replace(listener, sources=sources), Action.DROP)
            for version, sources in loopbacks.items()
        )
    }


def _inbound(spec: RedirectSpec, hit: Hit) -> Iterator[Rule]:
    """The first rule also tells apart the levels of a host that redirects nothing."""
    yield _skip("inbound: from this host", Match(arrives_by=frozenset({"lo"})))
    if spec.inbound is Inbound.OFF or (spec.inbound is Inbound.DECLARED and not spec.ports):
        return
    own = [ip_network(address) for address in spec.addresses]
    if spec.inbound is Inbound.DECLARED:
        yield from _exceptions("inbound", spec, spec.inbound_except)
        declared = Match(ports=spec.ports, opens=True)
        yield from _hits("inbound: declared ports", spec, own, declared, hit)
        return
    yield from _ports("inbound: sshd's ports", spec.ssh_ports)
    yield from _ports("inbound: the proxy's own ports", spec.own_ports)
    yield from _ports("inbound: ports that containers publish", spec.published_everywhere)
    yield from _published("inbound: ports that containers publish", spec, Match(), Action.SKIP)
    yield from _exceptions("inbound", spec, spec.inbound_except)
    yield from _hits("inbound: every other port", spec, own, Match(opens=True), hit)


def _outbound(spec: RedirectSpec, hit: Hit) -> Iterator[Rule]:
    yield _skip("outbound: from the proxy", Match(uids=frozenset({spec.proxy_uid})))
    yield _skip("outbound: to this host", Match(leaves_by=frozenset({"lo"})))
    if spec.outbound is Outbound.OFF:
        return
    by_port: dict[int, list[Network]] = defaultdict(list)
    for address, port in spec.exempt:
        by_port[port].append(ip_network(address))
    for port, networks in sorted(by_port.items()):
        match = Match(ports=frozenset({port} if port else ()))
        yield from _per_family(f"outbound: exempt, port {port or 'any'}", spec, networks, match, _SKIPPED)
    yield from _exceptions("outbound", spec, spec.outbound_except)
    opens = Match(opens=True)
    match spec.outbound:
        case Outbound.NETWORKS:
            yield from _hits("outbound: cluster networks", spec, spec.networks, opens, hit)
        case Outbound.ALL:
            yield from _hits("outbound: everywhere else", spec, _EVERYWHERE, opens, hit)
        case Outbound.UIDS if spec.uids:
            yield from _hits("outbound: chosen users", spec, _EVERYWHERE, replace(opens, uids=spec.uids), hit)


def _guard(spec: RedirectSpec) -> Iterator[Rule]:
    """Otherwise a client of 4143 could name any port of this host, and the proxy would dial it: peers dial 4143
    themselves, so every level has these rules. Where nothing is redirected and no port is
    declared, only the ports of SSH are refused."""
    local = Match(uids=frozenset({spec.proxy_uid}), leaves_by=frozenset({"lo"}), opens=True)
    undeclared = spec.inbound is Inbound.OFF and spec.outbound is Outbound.OFF and not spec.ports
    if spec.inbound is Inbound.ALL or undeclared:
        shut = (spec.ssh_ports | spec.inbound_except.ports | spec.published_everywhere) - spec.local_ports
        if shut:  # a condition without ports would meet every port
            yield Rule("guard: the proxy to an excepted port", replace(local, ports=shut), Action.RESET)
        yield from _published("guard: the proxy to what containers publish", spec, local, Action.RESET)
    else:
        open_ = (spec.ports - spec.inbound_except.ports) | spec.local_ports
        yield _skip("guard: ports that the proxy may dial here", Match(ports=open_))
        yield Rule("guard: the proxy to an undeclared port", local, Action.RESET)


def _exceptions(direction: str, spec: RedirectSpec, exceptions: Exceptions) -> Iterator[Rule]:
    inbound = direction == "inbound"
    yield from _ports(f"{direction}: excepted ports", exceptions.ports)
    if exceptions.interfaces:
        match = Match(arrives_by=exceptions.interfaces) if inbound else Match(leaves_by=exceptions.interfaces)
        yield _skip(f"{direction}: excepted interfaces", match)
    if exceptions.uids and not inbound:
        yield _skip(f"{direction}: excepted users", Match(uids=exceptions.uids))
    if exceptions.gids and not inbound:
        yield _skip(f"{direction}: excepted groups", Match(gids=exceptions.gids))
    name = f"{direction}: excepted networks"
    yield from _per_family(
        name, spec, exceptions.networks, Match(), _SKIPPED, "sources" if inbound else "networks"
    )


_SKIPPED: Hit = (Action.SKIP, 0, None)


def _skip(name: str, match: Match) -> Rule:
    return Rule(name, match, Action.SKIP)


def _ports(name: str, ports: frozenset[int]) -> Iterator[Rule]:
    if ports:
        yield _skip(name, Match(ports=ports))


def _published(name: str, spec: RedirectSpec, match: Match, action: Action) -> Iterator[Rule]:
    """Of each address that has its own. The proxy forwards to the address that was dialled, never to loopback."""
    for address in sorted(spec.addresses, key=lambda one: (one.version, one)):
        ports = spec.published_at(address) - (spec.local_ports if action is Action.RESET else frozenset())
        if ports:
            own = replace(match, ports=ports, networks=(ip_network(address),))
            yield Rule(f"{name} at {address}", own, action)


def _hits(name: str, spec: RedirectSpec, networks: Iterable[Network], match: Match, hit: Hit) -> Iterator[Rule]:
    """Each looks at what opens a connection and nothing else, also where the kernel shows it no other packet:
    a host that was not tracked before takes the next packet of an old stream for the first of a new one."""
    assert match.opens
    return _per_family(name, spec, networks, match, hit)


def _per_family(
    name: str, spec: RedirectSpec, networks: Iterable[Network], match: Match, hit: Hit, where: str = "networks"
) -> Iterator[Rule]:
    """One rule an IP version, of those that the workload has."""
    given = tuple(networks)
    for version in sorted(spec.families):
        merged = canonical(network for network in given if network.version == version)
        if merged:
            yield Rule(f"{name}, IPv{version}", replace(match, **{where: merged}), *hit)  # type: ignore[arg-type]  # the name of a field


# levels --------------------------------------------------------------------------------------------


def levels(spec: RedirectSpec, live: Ruleset | None) -> tuple[Level, Level]:
    """(inbound, outbound) that the live rules amount to for this specification: PARTIAL unless they are
    exactly those of a level. Damage to what both directions share counts against both."""
    if live is None:
        return Level.OFF, Level.OFF
    intended = {level: ruleset(spec, level, level) for level in (Level.RELEASED, Level.BLOCK, Level.ON)}
    return _level(intended, live, _OUTBOUND), _level(intended, live, _INBOUND)


def _level(intended: Mapping[Level, Ruleset | None], live: Ruleset, other: frozenset[str]) -> Level:
    for level, rules in intended.items():
        if rules is not None and _without(live, other) == _without(rules, other):
            return level
    return Level.PARTIAL


def _without(rules: Ruleset, names: frozenset[str]) -> Ruleset:
    """A chain of the slots that is empty says nothing: rules on trial have the chains of those from before too."""
    empty = {chain.name for chain in rules.chains if chain.name in _OF_SLOTS and not chain.rules}
    return replace(rules, chains=tuple(chain for chain in rules.chains if chain.name not in names | empty))
