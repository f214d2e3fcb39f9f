"""A rule of nftables, from the JSON in which nft lists it to words as in nft's own language, for people."""

import json


def shown(rule: object) -> str:
    """`rule`: its expressions."""
    match rule:
        case [*expressions]:
            return " ".join(_expression(one) for one in expressions if one != {"counter": None}) or "counter"
    return str(rule)


def _expression(one: object) -> str:
    match one:
        case {"match": {"op": str(op), "left": left, "right": right}}:
            return " ".join(
                part for part in (_term(left), op if op not in ("==", "in") else "", _term(right)) if part
            )
        case {"vmap": {"key": key, "data": data}}:
            return f"{_term(key)} vmap {_term(data)}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"counter": _}:
            return "counter"
        case {**single} if len(single) == 1 and None in single.values():
            return str(next(iter(single)))
    return json.dumps(one, sort_keys=True)


def _term(term: object) -> str:
    match term:
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"meta": {"key": key}}:
            return f"{key}" if str(key)[1:].startswith("if") else f"meta {key}"
        case {"ct": {"key": key}}:
            return f"ct {key}"
        case {"fib": {"result": result, "flags": [*flags]}}:
            return f"fib {' . '.join(map(str, flags))} {result}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"set": [*items]}:
            return f"{{ {', '.join(map(_term, items[:8]))}{', …' if len(items) > 8 else ''} }}"
        case {"concat": [*items]}:
            return " . ".join(map(_term, items))
        case {"&": [left, right]}:
            return f"{_term(left)} & {_term(right)}"
        case [left, {**done}] if set(done) & {"goto", "jump", "accept", "drop", "return"}:
            return f"{_term(left)} : {_expression(done)}"
        case [*items] | {"|": [*items]}:
            return ",".join(map(_term, items))
        case str() | int():
            return str(term)
    return json.dumps(term, sort_keys=True)
