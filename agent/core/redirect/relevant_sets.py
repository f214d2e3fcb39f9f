"""Which sets of a ruleset decide about a packet: those that rules on its way refer to. A terse listing has the
rest without their elements, which may be a hundred thousand.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

Name = tuple[str, str, str, str]  # "set" or "map", family, table, name
_Chain = tuple[str, str, str]

# Elements that change automatically are no answer a moment later.
_PASSING = frozenset({"dynamic", "timeout"})
_UNKNOWN = "dynamic"


def named_sets(listing: object, hooks: frozenset[str]) -> set[Name]:
    """Those that rules refer to in the base chains of these hooks, and in what those lead to. fairlead's own table
    has none."""
    entries = _entries(listing)
    words: dict[_Chain, set[str]] = defaultdict(set)
    sets: dict[tuple[str, str, str], tuple[Name, object]] = {}
    for entry in entries:
        match entry:
            case {"rule": {"family": str(f), "table": str(t), "chain": str(c), "expr": expressions}}:
                words[f, t, c] |= set(_words(expressions))
            case {"set": {"family": str(f), "table": str(t), "name": str(n), **rest}}:
                sets[f, t, n] = ("set", f, t, n), rest
            case {"map": {"family": str(f), "table": str(t), "name": str(n), **rest}}:
                sets[f, t, n] = ("map", f, t, n), rest
    return set(_reached(list(_bases(entries, hooks)), words, sets))


def _reached(
    todo: list[_Chain], words: Mapping[_Chain, set[str]], sets: Mapping[_Chain, tuple[Name, object]]
) -> Iterator[Name]:
    seen: set[_Chain] = set()
    while todo:
        chain = todo.pop()
        if chain in seen:
            continue
        seen.add(chain)
        family, table, _ = chain
        for word in words.get(chain, ()):
            name, rest = sets.get((family, table, word[1:]), (None, {}))
            if word.startswith("@") and name is not None and not _PASSING & _flags(rest):
                yield name
                todo += [(family, table, target) for target in _words(rest)]
            todo.append((family, table, word))


def misprinted(listing: object) -> Iterator[tuple[str, str]]:
    """Tables (family, name) whose flags are not known: nft 1.0.6 lists a table's own name in their place."""
    for entry in _entries(listing):
        match entry:
            case {"table": {"family": str(family), "name": str(name), "flags": [*_, flag] | flag}} if flag == name:
                yield family, name


def with_flags(listing: object, flags: Mapping[tuple[str, str], Sequence[str]]) -> object:
    """The listing with these flags of tables."""
    return {"nftables": [_flagged(entry, flags) for entry in _entries(listing)]}


def _flagged(entry: object, flags: Mapping[tuple[str, str], Sequence[str]]) -> object:
    match entry:
        case {"table": {"family": str(family), "name": str(name), **rest}} if (family, name) in flags:
            return {"table": {**rest, "family": family, "name": name, "flags": [*flags[family, name]]}}
    return entry


def with_sets(listing: object, elements: Mapping[Name, object]) -> object:
    """The listing with these sets as they were listed one by one. `found`: None for one that could not be."""
    whole: dict[Name | None, object] = {
        name: one for name, listed in elements.items() for one in _entries(listed) if _name(one) == name
    }
    return {"nftables": [whole.get(_name(entry), entry) for entry in _entries(listing)]}


def marked(listing: object, flags: Mapping[Name, object]) -> object:
    """The listing with every other set marked as one whose elements are not known: none of them is empty."""
    known = {name for name, listed in flags.items() if listed is not None}
    return {"nftables": [_marked(entry) if _name(entry) not in known else entry for entry in _entries(listing)]}


def _marked(entry: object) -> object:
    match entry:
        case {"set": {**rest}}:
            return {"set": {**rest, "flags": sorted({*_flags(rest), _UNKNOWN})}}
        case {"map": {**rest}}:
            return {"map": {**rest, "flags": sorted({*_flags(rest), _UNKNOWN})}}
    return entry


def _name(entry: object) -> Name | None:
    match entry:
        case {"set": {"family": str(f), "table": str(t), "name": str(n)}}:
            return "set", f, t, n
        case {"map": {"family": str(f), "table": str(t), "name": str(n)}}:
            return "map", f, t, n
    return None


def _bases(entries: Iterable[object], hooks: frozenset[str]) -> Iterator[_Chain]:
    for entry in entries:
        match entry:
            case {"chain": {"family": str(f), "table": str(t), "name": str(n), "hook": str(hook)}}:
                if hook in hooks and (f, t) != ("inet", "fairlead"):
                    yield f, t, n


def _words(value: object) -> Iterator[str]:
    """Every text in it: names of sets and of chains among them."""
    match value:
        case str():
            yield value
        case {**one}:
            for item in one.values():
                yield from _words(item)
        case [*items]:
            for item in items:
                yield from _words(item)


def _flags(rest: object) -> set[str]:
    match rest:
        case {"flags": [*flags]}:
            return {flag for flag in flags if isinstance(flag, str)}
    return set()


def _entries(listing: object) -> Sequence[object]:
    match listing:
        case {"nftables": [*entries]}:
            return entries
    return ()
