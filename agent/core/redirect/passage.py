"""The hooks that a connection to the proxy meets, in their order, and what each of them sees of it.

The redirect translates at prerouting (inbound) or output (outbound): chains before it see the port that was
dialled. Connection tracking begins at priority -200. The answer goes back another way, and must get through too.
"""

from collections.abc import Iterator

from agent.core.late import dataclass, replace
from agent.core.redirect.walk import WIRE, Arrival, Outcome

_TRACKING, _TRANSLATION = -200, -110
_FIRST, _LAST = -(1 << 31), 1 << 31


@dataclass(frozen=True)
class Leg:
    """`first`, `end`: the priorities of the chains that see this. `nat`: chains of type nat see it too; those for
    destinations see no connection whose destination is translated already, and so with sources."""

    packet: Arrival
    first: int = _FIRST
    end: int = _LAST
    nat: bool = False

    def meets(self, hook: str, priority: int, kind: str) -> bool:
        return hook == self.packet.hook and self.first <= priority < self.end and (self.nat or kind != "nat")

    def seen(self, found: Outcome) -> Outcome:
        """What is tracked already stays so. Where its first packet is tracked and others are not, a connection
        that is not translated may work."""
        if self.packet.state == "invalid":
            others = self.packet.answers or self.packet.later
            alone = others and not self.packet.translated and found.untracked
            return replace(found, packet=self.packet, untracked=None if alone else found.untracked)
        return Outcome(found.verdict, found.rule, packet=self.packet)


def passage(arrival: Arrival) -> tuple[Leg, ...]:
    """`arrival`: as filter's input (a peer's) or output hook (this host's own) sees it. The packet that opens the
    connection goes first, then a later one the same way: a firewall may let the one through and not the other."""
    first = tuple(_inward(arrival) if arrival.hook == "input" else _outward(arrival))
    return (*first, *(_later(leg, arrival.translated) for leg in first))


def _later(leg: Leg, translated: bool) -> Leg:
    """What belongs to a connection meets no chain of type nat: it is translated as its first packet was, and
    connection tracking knows that from the first hook on."""
    packet = replace(leg.packet, later=True, translated=translated)
    if packet.state == "new":
        packet = replace(packet, state="established")
    return replace(leg, packet=packet, nat=False)


def _inward(arrival: Arrival) -> Iterator[Leg]:
    dialled = replace(arrival, port=None if arrival.translated else arrival.port, translated=False)
    before = replace(arrival.before or dialled, hook="prerouting")
    early = replace(before, state="invalid")
    yield Leg(replace(early, hook="ingress"))
    yield Leg(early, end=_TRACKING)
    yield Leg(before, _TRACKING, _TRANSLATION, nat=True)
    yield Leg(replace(arrival, hook="prerouting"), _TRANSLATION, nat=not arrival.translated)
    yield Leg(arrival, nat=True)
    yield from _sent(_answer(arrival))


def _outward(arrival: Arrival) -> Iterator[Leg]:
    """Until it is on lo it has the interface of its old destination."""
    if before := arrival.before:
        yield Leg(replace(before, hook="output", state="invalid"), end=_TRACKING)
        yield Leg(replace(before, hook="output"), _TRACKING, _TRANSLATION, nat=True)
    yield Leg(arrival, _TRANSLATION if arrival.before else _FIRST)
    near = replace(arrival, interface="lo")
    yield Leg(replace(near, hook="postrouting"), nat=True)
    yield from (Leg(replace(near, hook=hook)) for hook in ("prerouting", "input"))
    answer = replace(_answer(arrival), interface="lo")
    yield from _sent(answer)
    back = replace(answer, source=before.destination if before else None, source_port=None)
    if back.source or back.destination:
        yield from (Leg(replace(back, hook=hook)) for hook in ("prerouting", "input"))


def _answer(arrival: Arrival) -> Arrival:
    return replace(
        arrival,
        source=arrival.destination,
        destination=arrival.source,
        port=None,
        source_port=arrival.port,
        interface=arrival.interface or WIRE,
        state="established",
        answers=True,
        hook="output",
        before=None,
    )


def _sent(answer: Arrival) -> Iterator[Leg]:
    yield Leg(replace(answer, state="invalid"), end=_TRACKING)
    yield Leg(answer, _TRACKING)
    yield Leg(replace(answer, hook="postrouting"))
    yield Leg(replace(answer, hook="egress"))
