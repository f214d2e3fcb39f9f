"""Whether the host's own firewall lets peers reach the proxy's inbound port, in words, and what would open it.

The firewall sees 4143: connections to declared ports are redirected before its input rules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.core.redirect import firewall, firewall_iptables
from agent.core.redirect.rules import Network
from agent.core.redirect.walk import Arrival, Verdict, together


@dataclass(frozen=True)
class Seen:
    """What the firewall's programs say. `listing`: of `nft -j list ruleset`, None without nft. `saved`: (kind of
    iptables, IP version) → what iptables-save says."""

    listing: object
    saved: Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Admission:
    verdict: Verdict
    port: int
    commands: tuple[str, ...] = ()
    why: str = ""  # it cannot be told

    @property
    def words(self) -> str:
        match self.verdict:
            case Verdict.ACCEPTED:
                return f"the host's firewall lets peers reach port {self.port}: open"
            case Verdict.REFUSED:
                return f"the host's firewall keeps peers from port {self.port}: closed; to open it, add this:"
            case Verdict.UNKNOWN:
                return f"whether the host's firewall lets peers reach port {self.port}: cannot tell{self._because}"

    @property
    def _because(self) -> str:
        return f" ({self.why})" if self.why else ""


def admission(seen: Seen, arrivals: Sequence[Arrival], networks: Iterable[Network]) -> Admission:
    """`arrivals`: examples of what must come in, at least one. `networks`: where peers are, for the commands."""
    found = together(_verdict(seen, arrival) for arrival in arrivals)
    port = arrivals[0].port
    match found:
        case Verdict.REFUSED:
            return Admission(found, port, tuple(_commands(seen, port, arrivals, list(networks))))
        case Verdict.UNKNOWN:
            return Admission(found, port, why="it has rules whose conditions depend on more than is known here")
    return Admission(found, port)


def refuses(seen: Seen, departure: Arrival) -> bool:
    """A connection of this host's own, on its way to the proxy. What cannot be told is not refused."""
    return _verdict(seen, departure) is Verdict.REFUSED


def _verdict(seen: Seen, arrival: Arrival) -> Verdict:
    version = arrival.destination.version
    texts = {kind: text for (kind, at), text in seen.saved.items() if at == version}
    # What iptables-nft can say of its own tables it says better than nft.
    own = frozenset({("ip" if version == 4 else "ip6", "filter")} if "*filter" in texts.get("nft", "") else ())
    verdicts = [firewall_iptables.verdict(text, arrival) for text in texts.values()]
    if seen.listing is not None:
        verdicts.append(firewall.input_verdict(seen.listing, arrival, own))
    return together(verdicts)


def _commands(seen: Seen, port: int, arrivals: Sequence[Arrival], networks: Sequence[Network]) -> Iterator[str]:
    """For the firewall that is there."""
    texts = "".join(seen.saved.values())
    if ":ufw-user-input " in texts:
        yield from (f"ufw allow from {network} to any app fairlead" for network in networks)
        if not networks:
            yield "ufw allow fairlead"
        return
    if _is_firewalld(seen):
        yield "firewall-cmd --permanent --add-service=fairlead"
        yield "firewall-cmd --reload"
        return
    for version in sorted({arrival.destination.version for arrival in arrivals}):
        mine = [arrival for arrival in arrivals if arrival.destination.version == version]
        sources = [f"-s {network} " for network in networks if network.version == version] or [""]
        if any(_by_iptables(seen, arrival) for arrival in mine):
            program = "iptables" if version == 4 else "ip6tables"
            yield from (f"{program} -I INPUT {source}-p tcp --dport {port} -j ACCEPT" for source in sources)
    yield from (f"nft insert rule {' '.join(chain)} tcp dport {port} accept" for chain in _chains(seen, arrivals))


def _is_firewalld(seen: Seen) -> bool:
    """By either of its backends."""
    match seen.listing:
        case {"nftables": [*entries]}:
            if any(_is_table(entry, "firewalld") for entry in entries):
                return True
    return any(":INPUT_ZONES " in text for text in seen.saved.values())


def _is_table(entry: object, name: str) -> bool:
    match entry:
        case {"table": {"name": found}}:
            return bool(found == name)
    return False


def _by_iptables(seen: Seen, arrival: Arrival) -> bool:
    return _verdict(Seen(None, seen.saved), arrival) is Verdict.REFUSED


def _chains(seen: Seen, arrivals: Sequence[Arrival]) -> list[tuple[str, str, str]]:
    """Base chains of nftables that refuse, those apart that iptables-nft keeps."""
    if seen.listing is None:
        return []
    by_iptables = any("*filter" in text for (kind, _), text in seen.saved.items() if kind == "nft")
    kept = {("ip", "filter"), ("ip6", "filter")} if by_iptables else set()
    found = {chain for arrival in arrivals for chain in firewall.refusing(seen.listing, arrival)}
    return sorted(chain for chain in found if chain[:2] not in kept)
