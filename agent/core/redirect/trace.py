"""Which rule decides about a packet: the rules as the kernel walks them, without a kernel."""

from dataclasses import dataclass

from agent.core.redirect import Action, Address, Match, Rule, Ruleset


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


def trace(rules: Ruleset | None, packet: Packet) -> tuple[Action, Rule | None]:
    """What becomes of the packet, and the last rule that had a say; (SKIP, None) when none had."""
    said: Rule | None = None
    chains = [chain for chain in (rules.chains if rules else ()) if chain.hook == packet.hook]
    for chain in sorted(chains, key=lambda chain: chain.priority):
        for rule in chain.rules:
            if rule.action is Action.LOOK or not matches(rule.match, packet):
                continue
            if rule.action is not Action.SKIP:
                return rule.action, rule
            said = rule
            break
    return Action.SKIP, said


def matches(match: Match, packet: Packet) -> bool:
    """A condition that was not understood never holds, so a foreign rule decides nothing here."""
    arriving = packet.hook == "prerouting"
    tcp = packet.protocol == "tcp"
    return all(
        (
            not match.foreign,
            not match.arrives_by or (arriving and match.arrives_by == packet.interface),
            not match.leaves_by or (not arriving and match.leaves_by == packet.interface),
            match.uid is None or match.uid == packet.uid,
            not match.networks or any(packet.destination in network for network in match.networks),
            not match.ports or (tcp and packet.port in match.ports),
            not match.opens or (tcp and packet.opens),
        )
    )
