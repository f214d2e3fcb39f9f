"""Whether the host's firewall lets peers reach the proxy's inbound port, as text, and the commands that open it.

The firewall sees 4143: connections to declared ports are redirected before its input rules.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent.core.late import dataclass
from agent.core.redirect import firewall, firewall_iptables, named_addresses, parts
from agent.core.redirect.firewall import BaseChain
from agent.core.redirect.passage import Leg, passage
from agent.core.redirect.rules import Network
from agent.core.redirect.walk import Arrival, Outcome, Verdict, together


@dataclass(frozen=True)
class Seen:
    """What the firewall's programs say. `listing`: of `nft -j list ruleset`, None without nft. `saved`: (kind of
    iptables, IP version) → what iptables-save says."""

    listing: object
    saved: Mapping[tuple[str, int], str]

    @functools.cached_property
    def named(self) -> frozenset[parts.Condition]:
        """What the rules name. A listing may have thousands of elements, so it is read once."""
        return named_addresses.conditions(self.listing, self.saved.values())


@dataclass(frozen=True)
class Admission:
    verdict: Verdict
    port: int
    commands: tuple[str, ...] = ()
    why: str = ""  # it cannot be told
    rule: str = ""  # that refuses, or is not understood
    where: str = ""  # the parts of the peers' networks that have this verdict; "": all of them
    partly: bool = False  # it refuses, and some peers of each network pass

    @property
    def words(self) -> str:
        match self.verdict:
            case Verdict.ACCEPTED:
                return f"the host's firewall lets peers reach port {self.port}: open"
            case Verdict.REFUSED:
                what = f"the host's firewall keeps peers{self._in} from port {self.port}: closed"
                return f"{what}{self._by}; to open it, add this:"
            case Verdict.UNKNOWN:
                what = f"whether the host's firewall lets peers{self._in} reach port {self.port}: cannot tell"
                return f"{what}{self._because}"

    @property
    def cause(self) -> str:
        """In short."""
        what = self.rule or self.why
        return f"{what} (for peers{self._in})" if self.where else what

    @property
    def _in(self) -> str:
        return f" in {self.where}" if self.where else ""

    @property
    def _by(self) -> str:
        return f" by {self.rule}" if self.rule else ""

    @property
    def _because(self) -> str:
        return f" ({self.why})" if self.why else ""


def admission(seen: Seen, arrivals: Sequence[Arrival], networks: Iterable[Network]) -> Admission:
    """`arrivals`: examples of what must come in, at least one, from each network. `networks`: where peers are.
    Each part of a network that rules name is judged."""
    given = list(networks)
    told = [(part, arrival, outcome(seen, arrival)) for part, arrival in spread(seen, arrivals, given)]
    judged = [(part, one) for part, _, one in told]
    found = together(one for _, one in judged)
    port, where = arrivals[0].port or 0, where_it_is(found.verdict, judged)
    match found.verdict:
        case Verdict.REFUSED:
            commands = tuple(_commands(seen, [arrival for _, arrival, _ in told], given))
            partly = leaves_some(judged, given)
            return Admission(found.verdict, port, commands, rule=found.rule, where=where, partly=partly)
        case Verdict.UNKNOWN:
            why = f"not understood: {found.rule}"
            return Admission(found.verdict, port, why=why, rule=found.rule, where=where)
    if crowded := crowd(seen, given):
        return Admission(Verdict.UNKNOWN, port, why=crowded)
    return Admission(found.verdict, port)


def spread(
    seen: Seen, arrivals: Sequence[Arrival], networks: Iterable[Network], apart: Sequence[Network] = ()
) -> list[tuple[parts.Part | None, Arrival]]:
    """Each arrival from (or to) every part of its network that rules name. `apart`: as in `parts`."""
    return list(dict.fromkeys(parts.spread(arrivals, networks, seen.named, apart)))


def where_it_is(verdict: Verdict, told: Sequence[tuple[parts.Part | None, Outcome]]) -> str:
    """The parts that have this verdict; "": all of them."""
    hit = {part for part, found in told if part and found.verdict is verdict}
    return "" if hit == {part for part, _ in told if part} else parts.shown(hit)


def leaves_some(told: Sequence[tuple[parts.Part | None, Outcome]], networks: Iterable[Network]) -> bool:
    """In every network that has a part which was judged, one is not refused."""
    judged = [(part, found.verdict is not Verdict.REFUSED) for part, found in told if part]
    each = [[passes for part, passes in judged if parts.within(part, one)] for one in networks]
    return bool(judged) and all(any(one) for one in each if one)


def crowd(seen: Seen, networks: Iterable[Network]) -> str:
    """Why not every part is judged; "": each is."""
    found = next((one for one in networks if len(parts.split(one, seen.named)) > parts.MOST), None)
    return f"rules name more than {parts.MOST} parts of {found}" if found else ""


def outcome(seen: Seen, arrival: Arrival) -> Outcome:
    """At every hook that the connection meets, and its answer."""
    return together(found for _, found in _outcomes(seen, arrival))


Place = BaseChain | tuple[str, str, str, str]  # of nftables; or iptables' program, -t, table, chain


def _outcomes(seen: Seen, arrival: Arrival) -> Iterator[tuple[Place, Outcome]]:
    """A chain that iptables-nft keeps is judged by what its own program says where nft's listing cannot tell."""
    version, legs = arrival.version, passage(arrival)
    texts = {kind: text for (kind, at), text in seen.saved.items() if at == version}
    program = "iptables" if version == 4 else "ip6tables"
    by_nft = {} if seen.listing is None else _grouped(seen.listing, legs)
    for kind, text in texts.items():
        for (table, chain), found in firewall_iptables.outcomes(text, legs):
            told = by_nft.get(("ip" if version == 4 else "ip6", table, chain), []) if kind == "nft" else []
            if not told or together(told).verdict is Verdict.UNKNOWN:
                yield (program, "-t", table, chain), found
    kept = _kept(texts.get("nft", ""), version)
    for place, told in by_nft.items():
        found = together(told)
        if place not in kept:
            yield place, found
        elif found.verdict is not Verdict.UNKNOWN:
            yield (program, "-t", place[1], place[2]), found


def _grouped(listing: object, legs: Sequence[Leg]) -> dict[BaseChain, list[Outcome]]:
    found: dict[BaseChain, list[Outcome]] = {}
    for place, told in firewall.outcomes(listing, legs):
        found.setdefault(place, []).append(told)
    return found


def _kept(text: str, version: int) -> frozenset[BaseChain]:
    """The chains that iptables-nft knows: those of a native table of the same name are none."""
    family = "ip" if version == 4 else "ip6"
    return frozenset((family, table, chain) for table, chain in firewall_iptables.bases(text))


def _commands(seen: Seen, arrivals: Sequence[Arrival], networks: Sequence[Network]) -> Iterator[str]:
    """For the firewall that is there: for each chain that refuses, and each network of peers."""
    found = [(place, told.packet) for one in arrivals for place, told in _outcomes(seen, one) if _refuses(told)]
    shut = [(place, packet) for place, packet in dict.fromkeys(found) if packet is not None]
    if _has_ufw(seen) and any(_is_input(place) for place, _ in shut):
        yield from (f"ufw allow from {network} to any app fairlead" for network in networks)
        if not networks:
            yield "ufw allow fairlead"
        shut = [one for one in shut if not _is_input(one[0])]
    if any(_by_firewalld(seen, place) for place, _ in shut):
        yield "firewall-cmd --permanent --add-service=fairlead"
        yield "firewall-cmd --reload"
        shut = [one for one in shut if not _by_firewalld(seen, one[0])]
    lines = [line for place, packet in shut for line in _opening(place, packet, networks)]
    yield from dict.fromkeys(lines)


def _refuses(found: Outcome) -> bool:
    return found.verdict is Verdict.REFUSED


def _is_input(place: Place) -> bool:
    return place[-2:] == ("filter", "INPUT")


def _by_firewalld(seen: Seen, place: Place) -> bool:
    """By either of its backends; they are there while it runs."""
    return "firewalld" in place or (
        _is_input(place) and any(":INPUT_ZONES " in text for text in seen.saved.values())
    )


def firewalld(seen: Seen, departure: Arrival) -> bool:
    """Whether it is firewalld that refuses this."""
    return any(_by_firewalld(seen, place) for place, found in _outcomes(seen, departure) if _refuses(found))


def _has_ufw(seen: Seen) -> bool:
    return any(":ufw-user-input " in text for text in seen.saved.values())


def _opening(place: Place, packet: Arrival, networks: Sequence[Network]) -> Iterator[str]:
    """Peers send to the port; an answer has it for its source."""
    port = packet.source_port if packet.answers else packet.port
    condition = "" if port is None else f"{'sport' if packet.answers else 'dport'} {port}"
    near: list[Network | None] = [network for network in networks if network.version == packet.version]
    for network in near or [None]:
        if len(place) == 4:
            program, _, table, chain = place
            where = f"{program} -I {chain}" if table == "filter" else f"{program} -t {table} -I {chain}"
            peers = f"-{'d' if packet.answers else 's'} {network} " if network else ""
            yield f"{where} {peers}-p tcp {f'--{condition} ' if condition else ''}-j ACCEPT"
        else:
            protocol = "ip" if packet.version == 4 else "ip6"
            peers = f"{protocol} {'daddr' if packet.answers else 'saddr'} {network} " if network else ""
            tcp = f"tcp {condition}" if condition else "meta l4proto tcp"
            yield f"nft insert rule {' '.join(place)} {peers}{tcp} accept"
