"""The parts of a network that the rules of a firewall may treat differently from the rest of it.

Law: a network is cut wherever a rule names an address, a prefix or a range. Each condition holds for every address
of a part or for none, so one address of the part represents all. Parts for which the same conditions hold are one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import pairwise
from typing import Final, NamedTuple

from agent.core.late import replace
from agent.core.redirect.rules import Address, Network
from agent.core.redirect.walk import Arrival

MOST: Final = 64  # parts of one network that are judged
_SHOWN: Final = 4


class Span(NamedTuple):
    """The addresses from `first` to `last`, as numbers."""

    version: int
    first: int
    last: int

    def __str__(self) -> str:
        first, last = self._address(self.first), self._address(self.last)
        if first == last:
            return str(first)
        network, *more = summarize_address_range(first, last)
        return f"{first}-{last}" if more else str(network)

    def example(self, own: frozenset[Address | None]) -> Address | None:
        """One of its addresses; none of this host's own, from which no peer comes."""
        candidates = (self._address(max(self.first, self.last - at)) for at in (1, 0, *range(2, len(own) + 2)))
        return next((one for one in candidates if one not in own), None)

    def _address(self, number: int) -> Address:
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)


Condition = frozenset[Span]  # the addresses for which it holds
Part = tuple[Span, ...]


def span(network: Network) -> Span:
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def within(part: Part, network: Network) -> bool:
    return any(_within(one, span(network)) for one in part)


def split(network: Network, conditions: Iterable[Condition]) -> list[Part]:
    """The parts in the order of their first addresses."""
    whole = span(network)
    edges: dict[int, list[tuple[Condition, int]]] = {whole.first: [], whole.last + 1: []}
    for condition in conditions:
        for one in condition:
            if one.version == whole.version and one.first <= whole.last and one.last >= whole.first:
                edges.setdefault(max(one.first, whole.first), []).append((condition, 1))
                edges.setdefault(min(one.last, whole.last) + 1, []).append((condition, -1))
    holding: Counter[Condition] = Counter()
    found: dict[frozenset[Condition], list[Span]] = {}
    for start, end in pairwise(sorted(edges)):
        for condition, step in edges[start]:
            holding[condition] += step
        found.setdefault(frozenset(+holding), []).append(Span(whole.version, start, end - 1))
    return [tuple(spans) for spans in found.values()]


def spread(
    arrivals: Sequence[Arrival],
    networks: Iterable[Network],
    conditions: frozenset[Condition],
    apart: Sequence[Network] = (),
) -> Iterator[tuple[Part | None, Arrival]]:
    """Each arrival with an address from every part of its network, or from the first ones of too many. None: its
    network is not known. `apart`: parts of networks that do not count."""
    cut = conditions | {frozenset({span(network)}) for network in apart}
    parts = {network: _counting(split(network, cut), apart)[:MOST] for network in networks}
    own = frozenset(_near(arrival) for arrival in arrivals)
    for arrival in arrivals:
        far = _far(arrival)
        home = next((network for network in parts if far is not None and far in network), None)
        examples = [(part, one) for part in parts[home] if (one := _example(part, own))] if home else []
        yield from ((part, _moved(arrival, one)) for part, one in examples)
        if home is None or (not examples and not apart):
            yield None, arrival


def _counting(parts: Iterable[Part], apart: Sequence[Network]) -> list[Part]:
    without = [span(network) for network in apart]
    return [part for part in parts if not any(_within(part[0], one) for one in without)]


def _within(inner: Span, outer: Span) -> bool:
    return inner.version == outer.version and outer.first <= inner.first and inner.last <= outer.last


def _example(part: Part, own: frozenset[Address | None]) -> Address | None:
    by_size = sorted(part, key=lambda one: one.first - one.last)
    return next((example for one in by_size if (example := one.example(own))), None)


def _near(arrival: Arrival) -> Address | None:
    return arrival.source if arrival.hook == "output" else arrival.destination


def _far(arrival: Arrival) -> Address | None:
    """Where it comes from, or where it goes before it is translated."""
    if arrival.hook != "output":
        return arrival.source
    return arrival.before.destination if arrival.before else None


def _moved(arrival: Arrival, far: Address) -> Arrival:
    if arrival.hook == "output":
        return replace(arrival, before=replace(arrival.before, destination=far)) if arrival.before else arrival
    before = replace(arrival.before, source=far) if arrival.before else None
    return replace(arrival, source=far, before=before)


def shown(parts: Iterable[Part]) -> str:
    """For people. Neighbouring addresses are shown as one."""
    joined: list[Span] = []
    for one in sorted({one for part in parts for one in part}):
        if joined and (joined[-1].version, joined[-1].last + 1) == (one.version, one.first):
            joined[-1] = joined[-1]._replace(last=one.last)
        else:
            joined.append(one)
    more = f" and {len(joined) - _SHOWN} more" if len(joined) > _SHOWN else ""
    return ", ".join(map(str, joined[:_SHOWN])) + more
