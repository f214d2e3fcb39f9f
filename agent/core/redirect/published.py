"""The ports that container runtimes publish, from the rules by which they do it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from agent.core.redirect.iptables import PREFIX, chain_of, parse

# Programs that listen for a runtime on a published port, as the kernel names their processes.
LISTENERS = frozenset({"docker-proxy", "rootlessport", "podman", "pasta", "pasta.avx2", "slirp4netns", "conmon"})


def from_iptables(text: str) -> frozenset[int]:
    """What iptables-save says. Docker, podman's netavark and the CNI plug-in all write DNAT rules for a port."""
    lines = (line for line in parse(text).lines.get("nat", ()) if not chain_of(line).startswith(PREFIX))
    return frozenset(port for line in lines if " -j DNAT" in line for port in _ports(line.split()))


def from_nft(listing: object) -> frozenset[int]:
    """What `nft -j list ruleset` says, our own table apart. What iptables-nft wrote cannot be read there."""
    match listing:
        case {"nftables": [*entries]}:
            return frozenset(port for entry in entries for port in _of_rule(entry))
    raise ValueError("not a listing of nftables")


def _ports(words: Sequence[str]) -> Iterator[int]:
    for option, value in pairwise(words):
        if option in ("--dport", "--dports"):
            for part in value.split(","):
                first, _, last = part.partition(":")
                yield from range(int(first), int(last or first) + 1)


def _of_rule(entry: object) -> Iterator[int]:
    match entry:
        case {"rule": {"table": "fairlead"}}:
            return
        case {"rule": {"expr": [*expressions]}} if any(_translates(expression) for expression in expressions):
            for expression in expressions:
                match expression:
                    case {"match": {"op": "==", "left": {"payload": {"field": "dport"}}, "right": right}}:
                        yield from _numbers(right)


def _translates(expression: object) -> bool:
    return isinstance(expression, dict) and "dnat" in expression


def _numbers(value: object) -> Iterator[int]:
    match value:
        case int():
            yield value
        case {"range": [int(first), int(last)]}:
            yield from range(first, last + 1)
        case {"set": [*items]}:
            for item in items:
                yield from _numbers(item)
