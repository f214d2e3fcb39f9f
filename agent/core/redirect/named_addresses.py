"""The addresses that the rules of other programs name, by condition."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Final

from agent.core.redirect.parts import Condition, Span, span

_BY_IPTABLES: Final = re.compile(r"^-A (?!FAIRLEAD_).*$", re.MULTILINE)
_OPTION: Final = re.compile(r" (?:-s|-d|--src-range|--dst-range) (\S+)")


def conditions(listing: object, saved: Iterable[str]) -> frozenset[Condition]:
    """`listing`: of `nft -j list ruleset`. `saved`: of iptables-save. fairlead's own rules are left out."""
    found = {frozenset(spans) for spans in _in_listing(listing)}
    for text in saved:
        for line in _BY_IPTABLES.findall(text):
            found |= {frozenset(_read(value)) for value in _OPTION.findall(line)}
    return frozenset(one for one in found if one)


def _in_listing(listing: object) -> Iterator[list[Span]]:
    match listing:
        case {"nftables": [*entries]}:
            for entry in entries:
                match entry:
                    case {"rule": {"family": "inet", "table": "fairlead"}}:
                        pass
                    case {"set": {"type": str(), "elem": elements}}:
                        yield list(_spans(elements))
                    case {"rule": {"expr": value}} | {"set": {"elem": value}} | {"map": {"elem": value}}:
                        yield from _apart(value)


def _apart(value: object) -> Iterator[list[Span]]:
    """One condition for each address, except where a plain set is one."""
    match value:
        case {"match": {"left": {"payload": _}, "right": {"set": elements}}}:
            yield list(_spans(elements))
        case str() | {"prefix": _} | {"range": _}:
            yield list(_spans(value))
        case {**inner}:
            for one in inner.values():
                yield from _apart(one)
        case [*items]:
            for one in items:
                yield from _apart(one)


def _spans(value: object) -> Iterator[Span]:
    match value:
        case str():
            yield from _read(value)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            yield from _read(f"{address}/{length}")
        case {"range": [str(first), str(last)]}:
            yield from _read(f"{first}-{last}")
        case {"elem": {"val": inner}}:
            yield from _spans(inner)
        case [*items]:
            for one in items:
                yield from _spans(one)


def _read(text: str) -> Iterator[Span]:
    """Of an address, a network or a range; nothing for any other text."""
    if "." not in text and ":" not in text:
        return
    first, dash, last = text.partition("-")
    try:
        if dash:
            low, high = ip_address(first), ip_address(last)
            yield Span(low.version, int(low), int(high))
        else:
            yield span(ip_network(text, strict=False))
    except ValueError:
        return
