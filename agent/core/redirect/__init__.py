"""What fairlead asks of the kernel, as pure data: a specification, the rules that follow from it at each
level, and the level that live rules amount to.

Law: one table, always with the same chains; a level decides the rules in them. Whoever renders rules for a
kind of firewall, reads them back or traces a packet does it over the values of this module alone.

Each direction has two chains. One is of type nat and holds the redirect; the kernel shows it only the first
packet of a connection. The other, of type filter and earlier, holds the block. Both stand empty when
released: without any nat chain the kernel stops translating the streams that were redirected before.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network

from agent.core.facts import Level

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SSH_PORT = 22


@dataclass(frozen=True)
class RedirectSpec:
    """What may be redirected on this host. `proxy_uid` > 0: the user whose own traffic goes out directly."""

    proxy_uid: int
    addresses: tuple[Address, ...] = ()  # the workload's own
    ports: frozenset[int] = frozenset()  # declared ports: inbound
    networks: tuple[Network, ...] = ()  # of the cluster: outbound
    exempt: tuple[tuple[Address, int], ...] = ()  # never redirected outbound; port 0: every port
    inbound_listener: int = 4143
    outbound_listener: int = 4140

    def __post_init__(self) -> None:
        if self.proxy_uid <= 0:
            raise ValueError(f"the proxy's uid must be above 0, not {self.proxy_uid}")

    @property
    def families(self) -> frozenset[int]:
        """The IP versions of the workload's addresses. The proxy listens on no other, so no rule has another."""
        return frozenset(address.version for address in self.addresses)


def refused_ports(spec: RedirectSpec, sshd: Iterable[int]) -> frozenset[int]:
    """The declared ports by which an operator comes in. `sshd`: where sshd listens, besides port 22."""
    return spec.ports & {SSH_PORT, *sshd}


# rules ---------------------------------------------------------------------------------------------


class Action(enum.Enum):
    LOOK = "look"  # go on with the next rule: the match itself is the purpose
    SKIP = "skip"  # leave the chain: nothing in it is for this packet
    RESET = "reset"
    REDIRECT = "redirect"  # to `port` on this host, keeping the address (inbound) or on loopback (outbound)


@dataclass(frozen=True)
class Match:
    """What a packet must be. A field at its default asks nothing."""

    arrives_by: str = ""  # interface
    leaves_by: str = ""
    uid: int | None = None  # of the socket that sends it
    networks: tuple[Network, ...] = ()  # its destination; all of one family
    ports: frozenset[int] = frozenset()  # its TCP destination
    opens: bool = False  # TCP, and of the flags that matter SYN alone
    tracked: bool = False  # the connection's state is looked up
    foreign: tuple[str, ...] = ()  # read back and not understood: no rule of ours


@dataclass(frozen=True)
class Rule:
    """`name` is stable and for people; what a rule does is the rest."""

    name: str = field(compare=False)
    match: Match
    action: Action
    port: int = 0


@dataclass(frozen=True)
class Chain:
    name: str
    kind: str  # filter | nat
    hook: str  # prerouting | input | output
    priority: int
    rules: tuple[Rule, ...] = ()
    policy: str = "accept"


@dataclass(frozen=True)
class Ruleset:
    """The table's chains, by name. `foreign`: what else is in the table, and is none of ours."""

    chains: tuple[Chain, ...]
    foreign: tuple[str, ...] = ()


# Before the chains of other owners (Docker: dstnat, -100), in whatever order they were registered. The
# block comes before the redirect, and after connection tracking (-200).
_REDIRECT, _BLOCK = -110, -150
_SKELETON = (
    Chain("inbound", "nat", "prerouting", _REDIRECT),
    Chain("inbound_block", "filter", "prerouting", _BLOCK),
    Chain("outbound", "nat", "output", _REDIRECT),
    Chain("outbound_block", "filter", "output", _BLOCK),
    Chain("tracking", "filter", "input", 0),
)
_INBOUND = frozenset({"inbound", "inbound_block"})
_OUTBOUND = frozenset({"outbound", "outbound_block"})

# Without connection tracking linkerd2-proxy cannot learn where a connection was going, and resets it. One
# rule that looks at the state keeps tracking on in this network namespace.
_TRACKING = Rule("tracking", Match(tracked=True), Action.LOOK)


def ruleset(spec: RedirectSpec, inbound: Level, outbound: Level) -> Ruleset | None:
    """The rules for these levels; None is no table at all. Raises ValueError for PARTIAL."""
    inbound, outbound = settle(inbound, outbound)
    if inbound is Level.OFF:
        return None
    rules = {
        **_filled("inbound", inbound, _inbound(spec, inbound)),
        **_filled("outbound", outbound, _outbound(spec, outbound)),
        "tracking": (_TRACKING,),
    }
    return Ruleset(tuple(replace(chain, rules=rules.get(chain.name, ())) for chain in _SKELETON))


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


def _inbound(spec: RedirectSpec, level: Level) -> tuple[Rule, ...]:
    """The first rule also tells apart the levels of a host that declares no port."""
    local = Rule("inbound: from this host", Match(arrives_by="lo"), Action.SKIP)
    own = [ip_network(address) for address in spec.addresses]
    declared = Match(ports=spec.ports, opens=True)
    hits = _per_family("inbound: declared ports", spec, own, declared, level, spec.inbound_listener)
    return (local, *hits) if spec.ports else (local,)


def _outbound(spec: RedirectSpec, level: Level) -> tuple[Rule, ...]:
    proxy = Rule("outbound: from the proxy", Match(uid=spec.proxy_uid), Action.SKIP)
    local = Rule("outbound: to this host", Match(leaves_by="lo"), Action.SKIP)
    exempt = [
        Rule(
            f"outbound: exempt {address} port {port or 'any'}",
            Match(networks=(ip_network(address),), ports=frozenset({port} if port else ())),
            Action.SKIP,
        )
        for address, port in spec.exempt
        if address.version in spec.families
    ]
    hits = _per_family(
        "outbound: cluster networks", spec, spec.networks, Match(opens=True), level, spec.outbound_listener
    )
    return (proxy, local, *exempt, *hits)


def _per_family(
    name: str, spec: RedirectSpec, networks: Iterable[Network], match: Match, level: Level, port: int
) -> list[Rule]:
    """One rule an IP version. Each looks at what opens a connection and nothing else, also where the kernel
    shows it no other packet: a host that was not tracked before takes the next packet of an old stream for
    the first of a new one."""
    rules = []
    for version in sorted(spec.families):
        found = canonical(network for network in networks if network.version == version)
        if found:
            action, to = (Action.REDIRECT, port) if level is Level.ON else (Action.RESET, 0)
            rules.append(Rule(f"{name}, IPv{version}", replace(match, networks=found), action, to))
    return rules


def canonical(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest networks that cover the same addresses (of one family): equal sets become equal values."""
    return tuple(collapse_addresses(networks))  # type: ignore[type-var]


# levels --------------------------------------------------------------------------------------------


def levels(spec: RedirectSpec, live: Ruleset | None) -> tuple[Level, Level]:
    """(inbound, outbound) that the live rules amount to for this specification: PARTIAL unless they are
    exactly those of a level. Damage to what both directions share counts against both."""
    if live is None:
        return Level.OFF, Level.OFF
    return _level(spec, live, _OUTBOUND), _level(spec, live, _INBOUND)


def _level(spec: RedirectSpec, live: Ruleset, other: frozenset[str]) -> Level:
    for level in (Level.RELEASED, Level.BLOCK, Level.ON):
        intended = ruleset(spec, level, level)
        assert intended is not None
        if _without(live, other) == _without(intended, other):
            return level
    return Level.PARTIAL


def _without(rules: Ruleset, names: frozenset[str]) -> Ruleset:
    return replace(rules, chains=tuple(chain for chain in rules.chains if chain.name not in names))
