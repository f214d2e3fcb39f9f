"""What the host's own firewall does with a connection, by what iptables-save says of one IP version.

Enough is understood for what ufw, firewalld, Docker, fail2ban and people write.
"""

import shlex
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from agent.core.redirect.iptables import chain_of, parse
from agent.core.redirect.walk import Arrival, Step, Verdict, Walk, settled

_END = {"ACCEPT": Verdict.ACCEPTED, "DROP": Verdict.REFUSED, "REJECT": Verdict.REFUSED}
_LOOKS = frozenset({"LOG", "NFLOG", "ULOG", "AUDIT", "MARK", "CONNMARK", "SET", "TRACE", "CT", "TCPMSS", "DSCP"})


def verdict(text: str, arrival: Arrival) -> Verdict:
    """ACCEPTED where there is no table filter."""
    saved = parse(text)
    rules: dict[str, list[Step]] = {name: [] for name in saved.chains.get("filter", ())}
    for line in saved.lines.get("filter", ()):
        rules.setdefault(chain_of(line), []).append(_step(shlex.split(line)[2:], arrival, rules))
    walk = Walk(lambda name: rules.get(name, ()))
    return settled(walk, base := arrival.hook.upper(), _policy(text, base))


def _policy(text: str, chain: str) -> Verdict:
    table = ""
    for line in text.splitlines():
        table = line[1:].strip() if line.startswith("*") else table
        if table == "filter" and line.startswith(f":{chain} "):
            return _END.get(line.split()[1], Verdict.ACCEPTED)
    return Verdict.ACCEPTED


def _step(words: Sequence[str], arrival: Arrival, chains: dict[str, list[Step]]) -> Step:
    at = next((i for i, word in enumerate(words) if word in ("-j", "-g")), len(words))
    holds = _all(_conditions(words[:at], arrival))
    match words[at : at + 2]:
        case ["-j", target] if target in _END:
            return Step(holds, end=_END[target])
        case ["-j", "RETURN"]:
            return Step(holds, returns=True)
        case [option, target] if target in chains:
            return Step(holds, chain=target, returns=option == "-g")
        case [] | [_]:
            return Step(holds)
        case [_, target]:
            return Step(holds, unclear=target not in _LOOKS)
    return Step(holds, unclear=True)


def _all(found: Iterator[bool | None]) -> bool | None:
    """All of them: None where that cannot be told."""
    answers = list(found)
    return False if False in answers else None if None in answers else True


def _conditions(words: Sequence[str], arrival: Arrival) -> Iterator[bool | None]:
    """One answer for each option."""
    rest = list(words)
    while rest:
        option, turned = rest.pop(0), False
        if option == "!":
            option, turned = rest.pop(0), True
        values = []
        while rest and rest[0] != "!" and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        answer = _answer(option, values, arrival)
        yield answer if answer is None or not turned else not answer


# Their names say nothing by themselves; what they ask is in their options.
_NAMES = frozenset({"tcp", "udp", "multiport", "comment", "conntrack", "state", "addrtype", "icmp", "icmp6", "rt"})


def _answer(option: str, values: list[str], arrival: Arrival) -> bool | None:
    match option, values:
        case ("--comment", _) | ("-c", _):
            return True
        case "-m", [name]:
            return True if name in _NAMES else None
        case "-p", [protocol]:
            return protocol in ("tcp", "all", "6")
        case ("-i" | "-o", [_]) if (option == "-i") is not (arrival.hook == "input"):
            return False
        case ("-i" | "-o", [name]) if arrival.interface is not None:
            return arrival.interface.startswith(name[:-1]) if name.endswith("+") else arrival.interface == name
        case ("-s", [network]) if arrival.source is not None:
            return arrival.source in ip_network(network, strict=False)
        case "-d", [network]:
            return arrival.destination in ip_network(network, strict=False)
        case "--dport" | "--dports" | "--ports", [ports]:
            return any(_within(part, arrival.port) for part in ports.split(","))
        case "--ctstate" | "--state", [states]:
            return bool({"NEW", *(["DNAT"] if arrival.translated else [])} & set(states.split(",")))
        case "--tcp-flags", [mask, flags]:
            return {"SYN"} & set(mask.split(",")) == set(flags.split(",")) - {"NONE"}
        case "--dst-type", [kinds]:
            return "LOCAL" in kinds.split(",")
        case "--icmp-type" | "--icmpv6-type" | "--rt-type", _:  # what opens a connection has no routing header
            return False
    return None


def _within(span: str, port: int) -> bool:
    first, _, last = span.partition(":")
    return int(first or 0) <= port <= int(last or first or 65535)
