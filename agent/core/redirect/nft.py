"""nftables' JSON: a Ruleset as one transaction, and a Ruleset from what the kernel holds.

Law: what is read back is compared by what it does. nft sorts sets, joins neighbouring networks into ranges,
writes a set of one as a plain value, and spells TCP flags in three ways, by its version; all of it is read
as the same Ruleset. What is not understood is kept as `foreign` and never equals a rule of ours.
"""

import json
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network, summarize_address_range

from agent.core.late import replace
from agent.core.redirect.rules import Action, Address, Chain, Match, Network, Rule, Ruleset, canonical, spans

TABLE = {"family": "inet", "name": "fairlead"}
_IN_TABLE = {"family": "inet", "table": "fairlead"}
_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "ack": 16}
_SYN, _RESET, _MEANINGFUL = 2, 4 | 16, 1 | 2 | 4 | 16
_FAMILIES = {4: "ip", 6: "ip6"}
_META = {"iifname": "arrives_by", "oifname": "leaves_by", "skuid": "uids", "skgid": "gids"}

Json = dict[str, object]

_COUNTER: Json = {"counter": None}  # for `fairlead redirect show`


# writing -------------------------------------------------------------------------------------------


def transaction(rules: Ruleset | None) -> Json:
    """Put these rules in place of whatever the table holds, at once; None: delete the table.

    The table is created again, which also removes a foreign set, flag or chain. Streams are not affected: in one
    transaction the new rules take over tracking and translation before the old ones release them. The `add`
    before the `delete` makes it succeed without a table.
    """
    commands: list[Json] = [{"add": {"table": TABLE}}, {"delete": {"table": TABLE}}]
    if rules is not None:
        commands.append({"add": {"table": TABLE}})
        commands += [_add_chain(chain) for chain in rules.chains]
        commands += [_add_rule(chain, rule) for chain in rules.chains for rule in chain.rules]
    return {"nftables": commands}


def script(rules: Ruleset) -> str:
    """The same as the input of `nft -j -f`, for a table that is there: without one it changes nothing and fails,
    for then another program has acted."""
    commands = transaction(rules)["nftables"]
    assert isinstance(commands, list)
    return json.dumps({"nftables": commands[1:]}) + "\n"


def _add_chain(chain: Chain) -> Json:
    of_kernel = {"type": chain.kind, "hook": chain.hook, "prio": chain.priority, "policy": chain.policy}
    return {"add": {"chain": {**_IN_TABLE, "name": chain.name, **of_kernel}}}


def _add_rule(chain: Chain, rule: Rule) -> Json:
    expressions = [*_match(rule.match), _COUNTER, *_action(chain, rule)]
    return {"add": {"rule": {**_IN_TABLE, "chain": chain.name, "comment": rule.name, "expr": expressions}}}


def _match(match: Match) -> list[Json]:
    expressions = []
    if match.tracked:
        expressions.append(_test({"ct": {"key": "state"}}, "new", "in"))
    for key, values in (
        ("iifname", match.arrives_by),
        ("oifname", match.leaves_by),
        ("skuid", match.uids),
        ("skgid", match.gids),
    ):
        if values:
            expressions.append(_test({"meta": {"key": key}}, {"set": sorted(values)}))
    for field, networks in (("saddr", match.sources), ("daddr", match.networks)):
        if networks:
            protocol = "ip" if networks[0].version == 4 else "ip6"
            expressions.append(_test(_payload(protocol, field), {"set": [_network(n) for n in networks]}))
    for field, ports in (("dport", match.ports), ("sport", match.from_ports)):
        if ports:
            expressions.append(_test(_payload("tcp", field), {"set": [_span(*span) for span in spans(ports)]}))
    if match.opens:
        expressions.append(_test({"&": [_payload("tcp", "flags"), _MEANINGFUL]}, _SYN))
    if match.resets:
        expressions.append(_test({"&": [_payload("tcp", "flags"), _MEANINGFUL]}, _RESET))
    if match.unheard:
        expressions.append(_test(_payload("tcp", "sequence"), 0))
    return expressions


def _test(left: Json, right: object, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _network(network: Network) -> object:
    address = str(network.network_address)
    whole = network.prefixlen == network.max_prefixlen
    return address if whole else {"prefix": {"addr": address, "len": network.prefixlen}}


def _span(first: int, last: int) -> object:
    return first if first == last else {"range": [first, last]}


def _action(chain: Chain, rule: Rule) -> list[Json]:
    match rule.action:
        case Action.LOOK:
            return []
        case Action.SKIP:
            return [{"return": None}]
        case Action.RESET:
            return [{"reject": {"type": "tcp reset"}}]
        case Action.DROP:
            return [{"drop": None}]
        case Action.REDIRECT if rule.to is not None:
            return [{"dnat": {"family": _FAMILIES[rule.to.version], "addr": str(rule.to), "port": rule.port}}]
        case Action.REDIRECT:
            # Inbound a translation of the port alone: nft's `redirect` also rewrites the address, to the
            # one of the interface, and drops the packet where that interface has none.
            if chain.hook == "prerouting":
                return [{"dnat": {**_family(rule.match), "port": rule.port}}]
            return [{"redirect": {"port": rule.port}}]


def _family(match: Match) -> Json:
    """nft 0.9.8 gives the kernel no family for a translation of the port alone; later versions add it."""
    return {"family": _FAMILIES[match.version]} if match.version else {}


# reading -------------------------------------------------------------------------------------------


def read(listing: object) -> Ruleset:
    """What `nft -j list table inet fairlead` says. Raises ValueError when it is no such listing."""
    match listing:
        case {"nftables": [*entries]}:
            return _ruleset(entries)
    raise ValueError("not a listing of nftables")


def _ruleset(entries: Sequence[object]) -> Ruleset:
    chains: dict[str, Chain] = {}
    foreign = []
    for entry in entries:
        match entry:
            case {"metainfo": _}:
                pass
            case {"table": {**table}} if "flags" not in table:
                pass
            case {
                "chain": {"name": str(name), "type": str(kind), "hook": str(hook), "prio": int(priority), **rest}
            }:
                chains[name] = Chain(name, kind, hook, priority, policy=str(rest.get("policy")))
            case {"rule": {"chain": str(name), "expr": [*expressions], **rest}} if name in chains:
                rule = _rule(chains[name], str(rest.get("comment", "")), expressions)
                chains[name] = replace(chains[name], rules=(*chains[name].rules, rule))
            case _:
                foreign.append(_text(entry))
    return Ruleset(tuple(chains[name] for name in sorted(chains)), tuple(foreign))


def _rule(chain: Chain, name: str, expressions: Sequence[object]) -> Rule:
    """The action is the last expression, if there is one; all before it are conditions. Counters say nothing
    of what a rule does."""
    expressions = [e for e in expressions if not (isinstance(e, dict) and e.keys() == {"counter"})]
    match = Match()
    for expression in expressions[:-1]:
        match = _narrow(match, expression)
    action = _read_action(chain, match, expressions[-1]) if expressions else None
    if expressions and action is None:
        match = _narrow(match, expressions[-1])
    done, port, to = action or (Action.LOOK, 0, None)
    return Rule(name, match, done, port, to)


Done = tuple[Action, int, Address | None]


def _read_action(chain: Chain, match: Match, expression: object) -> Done | None:
    """Exactly an action as `_action` writes it: an address or a flag more makes it another. A version of nft lists
    the family of a translation or omits it."""
    match expression:
        case {"return": None}:
            return Action.SKIP, 0, None
        case {"reject": {"type": "tcp reset", **rest}} if not rest:
            return Action.RESET, 0, None
        case {"drop": None}:
            return Action.DROP, 0, None
        case {"dnat": {"addr": str(address), "port": int(port), "family": str(family), **rest}} if not rest:
            return _to(chain, family, address, port)
        case {"dnat": {"port": int(port), **rest}} if rest in ({}, _family(match)) and chain.hook == "prerouting":
            return Action.REDIRECT, port, None
        case {"redirect": {"port": int(port), **rest}} if not rest and chain.hook == "output":
            return Action.REDIRECT, port, None
    return None


def _to(chain: Chain, family: str, address: str, port: int) -> Done | None:
    """To an address, which may be a name of nft's."""
    try:
        to = ip_address(address)
    except ValueError:
        return None
    ours = chain.hook == "prerouting" and family == _FAMILIES[to.version]
    return (Action.REDIRECT, port, to) if ours else None


def _narrow(match: Match, expression: object) -> Match:
    """`match` with one condition more. A second one on the same field is not understood either."""
    try:
        more = _condition(expression)
    except (ValueError, TypeError):
        more = {}
    taken = any(getattr(match, name) != getattr(Match(), name) for name in more)
    if taken or not more:
        return replace(match, foreign=(*match.foreign, _text(expression)))
    return replace(match, **more)  # type: ignore[arg-type]  # names of fields


def _condition(expression: object) -> dict[str, object]:
    """The field of Match that this expression sets. {}, ValueError or TypeError: none of ours."""
    match expression:
        case {"match": {"op": "==" | "in", "left": {"ct": {"key": "state"}}, "right": "new"}}:
            return {"tracked": True}
        case {"match": {"op": "==", "left": left, "right": right}}:
            return _equality(left, right)
    return {}


def _equality(left: object, right: object) -> dict[str, object]:
    match left:
        case {"meta": {"key": "iifname" | "oifname" as key}}:
            return {_META[key]: frozenset(_name(item) for item in _items(right))}
        case {"meta": {"key": "skuid" | "skgid" as key}}:
            return {_META[key]: frozenset(number for item in _items(right) for number in _numbers(item))}
        case {"payload": {"protocol": "ip" | "ip6" as protocol, "field": "saddr" | "daddr" as field}}:
            networks = canonical(network for item in _items(right) for network in _networks(item))
            version = 4 if protocol == "ip" else 6
            good = {network.version for network in networks} == {version}
            return {"sources" if field == "saddr" else "networks": networks} if good else {}
        case {"payload": {"protocol": "tcp", "field": "dport" | "sport" as field}}:
            ports = frozenset(port for item in _items(right) for port in _numbers(item))
            return {"ports" if field == "dport" else "from_ports": ports}
        case {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask]}:
            return _flags(_bits(mask), _bits(right))
        case {"payload": {"protocol": "tcp", "field": "sequence"}} if right == 0:
            return {"unheard": True}
    return {}


def _flags(mask: int, wanted: int) -> dict[str, object]:
    known = {_SYN: "opens", _RESET: "resets"}
    return {known[wanted]: True} if mask == _MEANINGFUL and wanted in known else {}


def _items(value: object) -> Sequence[object]:
    match value:
        case {"set": [*items]}:
            return items
    return [value]


def _networks(item: object) -> Iterable[Network]:
    match item:
        case str():
            return [ip_network(item)]
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return [ip_network((address, length))]
        case {"range": [str(first), str(last)]}:
            return summarize_address_range(ip_address(first), ip_address(last))
    raise ValueError(f"no addresses: {item}")


def _numbers(item: object) -> Iterable[int]:
    match item:
        case int():
            return [item]
        case {"range": [int(first), int(last)]}:
            return range(first, last + 1)
    raise ValueError(f"no numbers: {item}")


def _name(item: object) -> str:
    match item:
        case str():
            return item
    raise ValueError(f"no name: {item}")


def _bits(value: object) -> int:
    """TCP flags as a number: written as one, as a name, as a list of either, or as names joined by |."""
    match value:
        case int():
            return value
        case str():
            return _FLAGS.get(value, 256)
        case [*items] | {"|": [*items]}:
            bits = 0
            for item in items:
                bits |= _bits(item)
            return bits
    return 256


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
