"""Rules as lines for people, complete, so that two lists differ exactly when the rules do."""

from collections.abc import Iterator

from agent.core.redirect import Action, Match, Rule, Ruleset
from agent.core.redirect.rules import spans


def lines(rules: Ruleset | None) -> Iterator[str]:
    """Chain by chain, in the order in which the kernel walks them."""
    if rules is None:
        return
    for chain in sorted(rules.chains, key=lambda chain: (chain.hook != "prerouting", chain.hook, chain.priority)):
        if chain.rules:
            yield f"{chain.hook}, {chain.kind}, priority {chain.priority}:"
            yield from (f"  {line(rule)}" for rule in chain.rules)
    for foreign in rules.foreign:
        yield f"not created by fairlead: {foreign}"


def line(rule: Rule) -> str:
    return f"{rule.name or '(no name)'}: {', '.join(_conditions(rule.match)) or 'everything'} → {_action(rule)}"


def _action(rule: Rule) -> str:
    match rule.action:
        case Action.REDIRECT:
            return f"to the proxy's port {rule.port}{f' at {rule.to}' if rule.to else ''}"
        case Action.DROP:
            return "dropped"
        case Action.RESET:
            return "refused with a reset"
        case Action.SKIP:
            return "left alone"
        case Action.LOOK:
            return "goes on"


def _conditions(match: Match) -> Iterator[str]:
    if match.opens:
        yield "tcp that opens a connection"
    if match.resets:
        yield "tcp that refuses a connection" if match.unheard else "tcp that resets one"
    if match.tracked:
        yield "a tracked state"
    for word, items in (
        ("arriving by", sorted(match.arrives_by)),
        ("leaving by", sorted(match.leaves_by)),
        ("of uid", sorted(match.uids)),
        ("of gid", sorted(match.gids)),
        ("from", [str(network) for network in match.sources]),
        ("to", [str(network) for network in match.networks]),
        ("from port", _written(match.from_ports)),
        ("port", _written(match.ports)),
        ("and", list(match.foreign)),
    ):
        if items:
            yield f"{word} {' '.join(map(str, items))}"


def _written(ports: frozenset[int]) -> list[str]:
    return [str(a) if a == b else f"{a}-{b}" for a, b in spans(ports)]
