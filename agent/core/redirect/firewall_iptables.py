"""What the host's firewall does with a connection, by the output of iptables-save for one IP version.

It understands the rules of ufw, firewalld, Docker, fail2ban, kube-proxy, and usual manual ones.
"""

import functools
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from agent.core.late import dataclass
from agent.core.redirect.iptables import PREFIX
from agent.core.redirect.iptables_words import Line, Option, parsed
from agent.core.redirect.matches import both
from agent.core.redirect.passage import Leg, passage
from agent.core.redirect.walk import WIRE, Arrival, Outcome, Step, Verdict, Walk, settled, together

_END = {"ACCEPT": Verdict.ACCEPTED, "DROP": Verdict.REFUSED, "REJECT": Verdict.REFUSED}
_LOOKS = frozenset(
    {"LOG", "NFLOG", "ULOG", "AUDIT", "MARK", "CONNMARK", "SET", "TRACE", "TCPMSS", "DSCP", "CLASSIFY", "SECMARK"}
    | {"CONNSECMARK", "CHECKSUM", "TOS", "LED", "RATEEST", "IDLETIMER", "ACCOUNT", ""}
)
_TRANSLATED = frozenset({"MASQUERADE", "SNAT"})
# Of the tables in one hook, in the kernel's order.
PRIORITIES: Final = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_HOOKS: Final = {"PREROUTING": "prerouting", "INPUT": "input", "OUTPUT": "output", "POSTROUTING": "postrouting"}
_LATE: Final = {("nat", "POSTROUTING"): 100, ("nat", "INPUT"): 100}
Base = tuple[str, str]  # table, chain


def verdict(text: str, arrival: Arrival) -> Verdict:
    """ACCEPTED where there are no tables."""
    return together(found for _, found in outcomes(text, passage(arrival))).verdict


def bases(text: str) -> frozenset[Base]:
    """The kernel's own chains that it has."""
    return frozenset(_tables(text).policies)


def outcomes(text: str, legs: Sequence[Leg]) -> Iterator[tuple[Base, Outcome]]:
    """Of each chain of the kernel's that the connection meets, in the order of the hooks."""
    tables = _tables(text)
    for leg in legs:
        for (table, chain), policy in tables.policies.items():
            priority = _LATE.get((table, chain), PRIORITIES[table])
            if leg.meets(_HOOKS[chain], priority, "nat" if table == "nat" else "filter"):
                walk = Walk(_View(tables, table, leg.packet).steps)
                outcome = settled(walk, chain, policy, f"-t {table}")
                yield (table, chain), leg.seen(outcome)


# the text ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tables:
    policies: dict[Base, Verdict]
    rules: dict[Base, list[tuple[str, Line | None]]]  # None: not understood


@functools.lru_cache(maxsize=8)
def _tables(text: str) -> _Tables:
    """Of others: fairlead's own chains are left out."""
    tables = _Tables({}, {})
    table = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":") and table in PRIORITIES:
            name, policy = (*line[1:].split(), "-")[:2]
            tables.rules.setdefault((table, name), [])
            if policy in _END and name in _HOOKS:
                tables.policies[table, name] = _END[policy]
        elif line.startswith("-A ") and table in PRIORITIES:
            _add(tables, table, line)
    return tables


def _add(tables: _Tables, table: str, line: str) -> None:
    try:
        rule = parsed(line)
    except ValueError:
        tables.rules.setdefault((table, line.split()[1]), []).append((line, None))
        return
    if not rule.chain.startswith(PREFIX) and not rule.target.startswith(PREFIX):
        tables.rules.setdefault((table, rule.chain), []).append((line, rule))


# rules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """A table as this packet meets it."""

    tables: _Tables
    table: str
    packet: Arrival

    def steps(self, chain: str) -> Iterator[Step]:
        for text, line in self.tables.rules.get((self.table, chain), ()):
            yield self._step(text, line) if line else Step(None, unclear=True, rule=text)

    def _step(self, text: str, line: Line) -> Step:
        holds = both(conditions(line.options, self.packet))
        target = line.target
        if target in _END:
            return Step(holds, end=_END[target], rule=text)
        if target == "RETURN":
            return Step(holds, returns=True, rule=text)
        if (self.table, target) in self.tables.rules:
            return Step(holds, chain=target, returns=line.goes, rule=text)
        if target == "NOTRACK" or (target == "CT" and any(one.name == "--notrack" for one in line.more)):
            return Step(holds, untracks=True, rule=text)
        if target in _TRANSLATED:
            return Step(holds, end=Verdict.ACCEPTED, rule=text)
        helps = target == "CT" and {one.name for one in line.more} <= {"--helper", "--ctevents", "--timeout"}
        return Step(holds, unclear=target not in _LOOKS and not helps, rule=text)


def conditions(options: Sequence[Option], packet: Arrival) -> Iterator[bool | None]:
    """One answer for each option."""
    module = ""
    for option in options:
        module = option.values[0] if option.name == "-m" and option.values else module
        answer = _answer(option, list(option.values), packet, module)
        yield answer if answer is None or not option.turned else not answer


# Their names say nothing by themselves; what they ask is in their options.
_NAMES = frozenset(
    {"tcp", "udp", "multiport", "comment", "conntrack", "state", "addrtype", "icmp", "icmp6", "rt", "rpfilter"}
    | {"pkttype", "iprange"}
)
_LOOSE = frozenset({"--validmark", "--loose", "--accept-local"})


def _answer(option: Option, values: list[str], packet: Arrival, module: str) -> bool | None:
    match option.name, values:
        case ("--comment", _) | ("-c", _):
            return True
        case "-m", [name] if name == "rpfilter":  # a peer that is routed elsewhere hears nothing
            return True if packet.comes else None
        case "-m", [name]:
            return True if name in _NAMES else None
        case name, [] if module == "rpfilter" and name == "--invert":
            return False
        case name, [] if module == "rpfilter" and name in _LOOSE:
            return True
        case "-p", [protocol]:
            return protocol in ("tcp", "all", "6", "0")
        case ("-i" | "-o" as name, [interface]):
            return _by(interface, packet) if (name == "-i") is packet.comes else False
        case ("-s", [network]) if packet.source is not None:
            return packet.source in ip_network(network, strict=False)
        case ("-d", [network]) if packet.destination is not None:
            return packet.destination in ip_network(network, strict=False)
        case "--src-range" | "--dst-range" as name, [span]:
            return _in_range(packet.source if name == "--src-range" else packet.destination, span)
        case "--syn", []:
            return not (packet.answers or packet.later)
        case "--pkt-type", [kind]:
            return kind in ("unicast", "host")
        case "--icmp-type" | "--icmpv6-type" | "--rt-type", _:  # what opens a connection has no routing header
            return False
    return _more(option.name, values, packet)


def _more(name: str, values: list[str], packet: Arrival) -> bool | None:
    match name, values:
        case ("--dport" | "--dports" | "--destination-ports", [ports]) if packet.port is not None:
            return _one_of(ports, packet.port)
        case ("--sport" | "--sports" | "--source-ports", [ports]) if packet.source_port is not None:
            return _one_of(ports, packet.source_port)
        case ("--ports", [ports]):
            known = [port for port in (packet.port, packet.source_port) if port is not None]
            return True if any(_one_of(ports, port) for port in known) else False if len(known) == 2 else None
        case "--ctstate" | "--state", [states]:
            translated = packet.translated and packet.state != "invalid"
            return bool({packet.state.upper(), *(["DNAT"] if translated else [])} & set(states.split(",")))
        case "--ctdir", [direction] if packet.state != "invalid":
            return direction == ("REPLY" if packet.answers else "ORIGINAL")
        case "--tcp-flags", [mask, flags]:
            sent = {"ACK"} if packet.later else {"SYN", "ACK"} if packet.answers else {"SYN"}
            asked = {"FIN", "SYN", "RST", "PSH", "ACK", "URG"} if mask == "ALL" else set(mask.split(","))
            return sent & asked == set(flags.split(",")) - {"NONE"}
        case "--dst-type", [kinds]:
            near = packet.comes or packet.interface == "lo" or _loopback(packet.destination)
            return _of_type("LOCAL" if near else "UNICAST", kinds, packet.version)
        case ("--src-type", [kinds]) if packet.comes and packet.interface != "lo":
            return _of_type("UNICAST", kinds, packet.version)
    return None


def _of_type(kind: str, kinds: str, version: int) -> bool | None:
    """For IPv6 the kernel asks for all of them, and a local address is UNICAST too."""
    asked = set(kinds.split(","))
    if version == 4:
        return kind in asked
    if asked & {"MULTICAST", "UNSPEC"}:
        return False
    if asked - {"LOCAL", "UNICAST"}:
        return None
    return asked == {"UNICAST"} or kind == "LOCAL"


def _loopback(address: object) -> bool:
    return bool(getattr(address, "is_loopback", False))


def _by(name: str, packet: Arrival) -> bool | None:
    if packet.interface is None:
        return None
    if packet.interface == WIRE:
        return True if name == "+" else False if name == "lo" else None
    return packet.interface.startswith(name[:-1]) if name.endswith("+") else packet.interface == name


def _one_of(ports: str, port: int) -> bool:
    return any(_within(part, port) for part in ports.split(","))


def _within(span: str, port: int) -> bool:
    first, colon, last = span.partition(":")
    return int(first or 0) <= port <= int(last or (65535 if colon else first))


def _in_range(address: object, span: str) -> bool | None:
    first, _, last = span.partition("-")
    if address is None:
        return None
    return int(ip_address(first)) <= int(address) <= int(ip_address(last or first))  # type: ignore[call-overload, no-any-return]
