"""Rules as plain values: what every backend renders and reads back, and the tracer walks."""

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from agent.core.late import dataclass, field

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Action(enum.Enum):
    LOOK = "look"  # go on with the next rule: the match itself is the purpose
    SKIP = "skip"  # leave the chain: nothing in it is for this packet
    RESET = "reset"
    DROP = "drop"
    REDIRECT = "redirect"  # to `port` on this host, keeping the address (inbound) or on loopback (outbound)


@dataclass(frozen=True)
class Match:
    """What a packet must be: something of each field. A field at its default asks nothing."""

    arrives_by: frozenset[str] = frozenset()  # interfaces
    leaves_by: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()  # of the socket that sends it
    gids: frozenset[int] = frozenset()
    sources: tuple[Network, ...] = ()  # all of one family, as are `networks`
    networks: tuple[Network, ...] = ()  # its destination
    ports: frozenset[int] = frozenset()  # its TCP destination
    from_ports: frozenset[int] = frozenset()  # its TCP source
    opens: bool = False  # TCP, and of the flags that matter SYN alone
    resets: bool = False  # TCP, and of the flags that matter RST and ACK alone
    unheard: bool = False  # TCP sequence number 0: with RST, it answers a SYN where nobody listens
    tracked: bool = False  # the connection's state is looked up
    foreign: tuple[str, ...] = ()  # read back and not understood: no rule of ours

    @property
    def version(self) -> int | None:
        """The one IP version that it can match; None: both."""
        versions = {network.version for network in (*self.sources, *self.networks)}
        return versions.pop() if len(versions) == 1 else None


@dataclass(frozen=True)
class Rule:
    """`name` is stable and for people; what a rule does is the rest."""

    name: str = field(compare=False)
    match: Match
    action: Action
    port: int = 0
    to: Address | None = None  # the address that an inbound redirect also changes to; None: it keeps it


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


def canonical(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest networks that cover the same addresses (of one family): equal sets become equal values."""
    return tuple(collapse_addresses(networks))  # type: ignore[type-var]


def spans(ports: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The fewest (first, last) that cover these ports, in order."""
    spans: list[tuple[int, int]] = []
    for port in sorted(ports):
        if spans and spans[-1][1] == port - 1:
            spans[-1] = spans[-1][0], port
        else:
            spans.append((port, port))
    return tuple(spans)


def ordered(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules, IPv4 before IPv6 wherever nothing of both stands between: no packet sees a difference,
    and a backend with a table for each family can be read back as one."""
    result: list[Rule] = []
    six: list[Rule] = []
    for rule in rules:
        match rule.match.version:
            case 6:
                six.append(rule)
            case 4:
                result.append(rule)
            case _:
                result += [*six, rule]
                six.clear()
    return (*result, *six)
