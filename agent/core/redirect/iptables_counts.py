"""What iptables has counted, rule by rule, from what iptables-save -c says.

Law: a rule of ours is several lines, and stands in two tables where it resets. Its lines are added up; the table
that counts is the last one, where a packet's fate is sealed.
"""

import re
from collections.abc import Iterable, Iterator

from agent.core.late import dataclass
from agent.core.redirect.iptables import PLACES
from agent.core.redirect.wanted_rules import SKELETON

_COUNTED = re.compile(r'\[(\d+):(\d+)\] -A (\S+) (?:.* )?--comment ("[^"]*"|\S+)')


@dataclass(frozen=True)
class Count:
    chain: str
    name: str
    packets: int
    bytes: int


def counts(texts: Iterable[str]) -> tuple[Count, ...]:
    """`texts`: of each IP version. In the order of the chains, and of the rules in them."""
    counts: dict[tuple[str, str], Count] = {}
    for one in (count for text in texts for count in _lines(text)):
        so_far = counts.get((one.chain, one.name), Count(one.chain, one.name, 0, 0))
        packets, bytes_ = so_far.packets + one.packets, so_far.bytes + one.bytes
        counts[one.chain, one.name] = Count(one.chain, one.name, packets, bytes_)
    order = [chain.name for chain in SKELETON]
    return tuple(sorted(counts.values(), key=lambda count: order.index(count.chain)))


def _lines(text: str) -> Iterator[Count]:
    ours = {(place.base[-1][0], place.chain): place.name for place in PLACES}
    table = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:].strip()
        elif (match := _COUNTED.match(line)) and (table, match[3]) in ours:
            yield Count(ours[table, match[3]], match[4].strip('"'), int(match[1]), int(match[2]))
