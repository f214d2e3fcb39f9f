"""iptables-restore's text: a Ruleset put in place of whatever our chains hold, for one IP version.

Law: our chains are called FAIRLEAD_*, in the tables nat and filter; nothing else is changed. The output of
iptables-save shows what is to be removed, so that no state file is needed.

REJECT works in filter INPUT, FORWARD and OUTPUT alone, which is after nat. Others translate in between: a
container's published port would leave INPUT's way before the block. So each chain that resets has a twin of the
same name in nat, first of all, which holds the same connections where they are: a translation to the port they
have already. It is final, as no ACCEPT would be where nat has chains of several owners.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from agent.core.late import dataclass
from agent.core.redirect.iptables_words import target
from agent.core.redirect.rules import Action, Match, Network, Rule, Ruleset, spans
from agent.core.redirect.wanted_rules import SKELETON


@dataclass(frozen=True)
class Place:
    """Where a chain of the Ruleset stands. `base`: (table, chain that jumps to it)."""

    name: str
    chain: str
    base: tuple[tuple[str, str], ...]


PREFIX: Final = "FAIRLEAD_"
_TRACK: Final = "FAIRLEAD_TRACK"
PLACES: Final = (
    Place("guard", "FAIRLEAD_GUARD", (("nat", "OUTPUT"), ("filter", "OUTPUT"))),
    Place("inbound_block", "FAIRLEAD_IN_BLOCK", (("nat", "PREROUTING"), ("filter", "INPUT"))),
    Place("inbound", "FAIRLEAD_IN", (("nat", "PREROUTING"),)),
    Place("outbound_block", "FAIRLEAD_OUT_BLOCK", (("nat", "OUTPUT"), ("filter", "OUTPUT"))),
    Place("outbound", "FAIRLEAD_OUT", (("nat", "OUTPUT"),)),
    Place("tracking", _TRACK, (("filter", "INPUT"),)),
)
assert {place.name for place in PLACES} == {chain.name for chain in SKELETON}

SYN: Final = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
HOLD: Final = "DNAT --to-destination :1-65535"
_MOST_PORTS: Final = 15  # of one multiport match; a range counts twice


@dataclass(frozen=True)
class Saved:
    """What iptables-save says. `lines`: table → its rules, as "-A CHAIN …"."""

    chains: dict[str, tuple[str, ...]]
    lines: dict[str, tuple[str, ...]]

    def ours(self, table: str) -> tuple[str, ...]:
        return tuple(name for name in self.chains.get(table, ()) if name.startswith(PREFIX))

    def jumps(self, table: str) -> tuple[str, ...]:
        """Rules of others' chains that lead to ours."""
        lines = self.lines.get(table, ())
        return tuple(line for line in lines if not chain_of(line).startswith(PREFIX) and _leads_to_us(line))

    @property
    def holds(self) -> bool:
        """Something of ours is there."""
        return any(self.ours(table) or self.jumps(table) for table in ("nat", "filter"))


def parse(text: str) -> Saved:
    chains: dict[str, list[str]] = {}
    lines: dict[str, list[str]] = {}
    table = ""
    for line in text.split("\n"):  # splitlines() would split at letters of a comment too
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            chains.setdefault(table, []).append(line[1:].split()[0])
        elif line.startswith("-A "):
            lines.setdefault(table, []).append(line)
    return Saved(*({name: tuple(found) for name, found in part.items()} for part in (chains, lines)))


def chain_of(line: str) -> str:
    return line.split(maxsplit=2)[1]


def _leads_to_us(line: str) -> bool:
    return target(line).startswith(PREFIX)


# writing -------------------------------------------------------------------------------------------


def restore(saved: Saved, rules: Ruleset | None, version: int) -> str:
    """The input of `iptables-restore --noflush` (ip6tables-restore for version 6). "": nothing is to be done.

    Each table is a separate transaction. A connection that is blocked before and after must not pass in between:
    the block is set first, in addition to the old rules, and old rules are removed last.
    """
    if rules is None:
        return "".join(_table(saved, table, {}) for table in ("nat", "filter"))
    lines = _lines(rules, version)
    done = {table: {name: tuple(found) for name, found in chains.items()} for table, chains in lines.items()}
    nat, after = _table(saved, "nat", done["nat"]), done["filter"]
    if not any(found for name, found in after.items() if name != _TRACK):
        return nat + _table(saved, "filter", after)
    both = {
        name: found if name == _TRACK else (*found, *_of(saved.lines.get("filter", ()), name))
        for name, found in after.items()
    }
    between = Saved({**saved.chains, "filter": tuple(both)}, {**saved.lines, "filter": tuple(_jumps("filter"))})
    return _table(saved, "filter", both) + nat + (_table(between, "filter", after) if both != after else "")


def _of(lines: Iterable[str], chain: str) -> Iterator[str]:
    return (line for line in lines if chain_of(line) == chain)


def _table(saved: Saved, table: str, chains: dict[str, tuple[str, ...]]) -> str:
    """One table's transaction: our chains emptied and filled, our jumps taken out and put first."""
    gone = [name for name in saved.ours(table) if name not in chains]
    commands = [f":{name} - [0:0]" for name in (*chains, *gone)]
    commands += [f"-D {line.removeprefix('-A ')}" for line in saved.jumps(table)]
    if chains:
        commands += [f"-I {line.removeprefix('-A ')}" for line in reversed(list(_jumps(table)))]
    commands += [line for lines in chains.values() for line in lines]
    commands += [f"-X {name}" for name in gone]
    return "\n".join((f"*{table}", *commands, "COMMIT", "")) if commands else ""


def _jumps(table: str) -> Iterator[str]:
    """In the order in which they stand. Only what opens a connection walks our chains, however long."""
    for place in PLACES:
        for where, base in place.base:
            if where == table:
                what = "" if place.name == "tracking" else f"{SYN} "
                yield f"-A {base} {what}-m comment --comment fairlead -j {place.chain}"


def _lines(rules: Ruleset, version: int) -> dict[str, dict[str, list[str]]]:
    """table → chain → its rules."""
    chains = {chain.name: chain.rules for chain in rules.chains}
    lines: dict[str, dict[str, list[str]]] = {"nat": {}, "filter": {}}
    for place in PLACES:
        for table, base in place.base:
            lines[table][place.chain] = [
                line
                for rule in chains[place.name]
                if rule.match.version in (None, version)
                for line in _rule(place.chain, rule, table, base)
            ]
    return lines


def _rule(chain: str, rule: Rule, table: str, base: str) -> Iterator[str]:
    """One line for each combination: a match of iptables has one interface, one network, one user."""
    match = rule.match
    target = _target(rule, table, base)
    parts = (
        ["-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"] if match.opens else ["-p tcp"] if match.ports else [],
        [f"-i {name}" for name in sorted(match.arrives_by)],
        [f"-o {name}" for name in sorted(match.leaves_by)],
        [f"-s {network}" for network in _halves(match.sources)],
        [f"-d {network}" for network in _halves(match.networks)],
        [f"-m multiport --dports {','.join(chunk)}" for chunk in _chunks(match.ports)],
        list(_owners(match)),
        ["-m conntrack --ctstate NEW"] if match.tracked else [],
    )
    for words in product(*(part or [""] for part in parts)):
        conditions = " ".join(word for word in words if word)
        comment = f'-m comment --comment "{rule.name}"'
        yield " ".join(word for word in (f"-A {chain}", conditions, comment, target) if word)


def _target(rule: Rule, table: str, base: str) -> str:
    match rule.action:
        case Action.LOOK:
            return ""
        case Action.SKIP:
            return "-j RETURN"
        case Action.DROP:
            raise ValueError("only rules of nftables name a slot")
        case Action.RESET:
            return f"-j {HOLD}" if table == "nat" else "-j REJECT --reject-with tcp-reset"
        case Action.REDIRECT if base == "PREROUTING":
            # Of the port alone: REDIRECT drops packets where the interface has no address of its own.
            return f"-j DNAT --to-destination :{rule.port}"
        case Action.REDIRECT:
            return f"-j REDIRECT --to-ports {rule.port}"


def _owners(match: Match) -> Iterator[str]:
    uids = [f"--uid-owner {uid}" for uid in sorted(match.uids)] or [""]
    gids = [f"--gid-owner {gid}" for gid in sorted(match.gids)] or [""]
    for words in product(uids, gids):
        if any(words):
            yield " ".join(("-m owner", *(word for word in words if word)))


def _halves(networks: Iterable[Network]) -> Iterator[Network]:
    """iptables does not distinguish "every address" from no condition; it keeps two halves."""
    for network in networks:
        yield from network.subnets() if network.prefixlen == 0 else (network,)


def _chunks(ports: Iterable[int]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for first, last in spans(ports):
        cost = 1 if first == last else 2
        if size + cost > _MOST_PORTS:
            yield chunk
            chunk, size = [], 0
        chunk.append(str(first) if first == last else f"{first}:{last}")
        size += cost
    if chunk:
        yield chunk
