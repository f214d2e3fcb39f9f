"""Which rule decides about a packet: the rules as the kernel walks them, without a kernel."""

from agent.core.late import dataclass
from agent.core.redirect.rules import Action, Address, Match, Network, Rule, Ruleset


@dataclass(frozen=True)
class Packet:
    """A packet as fairlead's table meets it. `hook`: prerouting (it comes in) or output (this host sends it)."""

    hook: str
    interface: str  # by which it comes in or goes out
    destination: Address
    port: int
    protocol: str = "tcp"
    opens: bool = True  # SYN, and none of ACK, FIN, RST
    uid: int | None = None  # of the socket that sends it
    gid: int | None = None
    source: Address | None = None  # None: unknown, and in no network


def trace(rules: Ruleset | None, packet: Packet) -> tuple[Action, Rule | None]:
    """The action on the packet, and the last rule that matched it; (SKIP, None) if none did."""
    deciding: Rule | None = None
    chains = [chain for chain in (rules.chains if rules else ()) if chain.hook == packet.hook]
    for chain in sorted(chains, key=lambda chain: chain.priority):
        for rule in chain.rules:
            if rule.action is Action.LOOK or not matches(rule.match, packet):
                continue
            if rule.action is not Action.SKIP:
                return rule.action, rule
            deciding = rule
            break
    return Action.SKIP, deciding


def explain(rules: Ruleset | None, packet: Packet) -> str:
    """The verdict on the packet and the reason, in a sentence for people."""
    action, rule = trace(rules, packet)
    match action, rule:
        case (Action.REDIRECT, Rule(name=name, port=port)):
            where = f" at {rule.to}" if rule is not None and rule.to is not None else ""
            return f'goes to the proxy on port {port}{where}, by the rule "{name}"'
        case (Action.DROP, Rule(name=name)):
            return f'is dropped, by the rule "{name}"'
        case (Action.RESET, Rule(name=name)):
            return f'is refused with a reset, by the rule "{name}"'
        case (_, Rule(name=name)):
            return f'is left alone, by the rule "{name}"'
    if rules is None:
        return "is left alone: there are no rules"
    if packet.protocol != "tcp":
        return f"is left alone: {packet.protocol} is never touched"
    if not packet.opens:
        return "is left alone: it belongs to a connection that is open"
    return "is left alone: no rule speaks of it"


def matches(match: Match, packet: Packet) -> bool:
    """A condition that was not understood never holds, so a foreign rule decides nothing here."""
    arriving = packet.hook == "prerouting"
    tcp = packet.protocol == "tcp"
    return all(
        (
            not match.foreign,
            not match.arrives_by or (arriving and packet.interface in match.arrives_by),
            not match.leaves_by or (not arriving and packet.interface in match.leaves_by),
            not match.uids or packet.uid in match.uids,
            not match.gids or packet.gid in match.gids,
            not match.sources or _in(packet.source, match.sources),
            not match.networks or _in(packet.destination, match.networks),
            not match.ports or (tcp and packet.port in match.ports),
            not match.opens or (tcp and packet.opens),
            not match.resets and not match.from_ports,  # no packet here is one, or says where it is from
        )
    )


def _in(address: Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
