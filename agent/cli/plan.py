"""fairlead plan"""

import argparse
import difflib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agent.cli.kit import redirects, rules
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.exits import Exit
from agent.core import replacement_way, text
from agent.core.redirect import unproxied

if TYPE_CHECKING:
    from agent.core.redirect.departure import Departure
    from agent.core.replacement_way import Obstacle
    from agent.offline.redirect import Redirect

DESCRIPTION = """\
Shows the rules that PREFIX/etc/fairlead/fairlead.toml describes for a ready proxy, and how the live rules differ.
It changes nothing and works without the agent. To read the live rules it must run as root.
Exit 0: these rules can be set; 1: they would be refused, with the reason; 64: the configuration is wrong.

  sudo fairlead plan         the rules, and what would change
  sudo fairlead plan --json  for a program"""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(args: argparse.Namespace) -> int:
    redirect = redirects.view(args.prefix, "plan the redirect")
    print(json.dumps(text.shown(as_json(redirect)), indent=2) if args.json else "\n".join(render(redirect)))
    return Exit.FAILED if redirect.refused else Exit.OK


def as_json(redirect: "Redirect") -> dict[str, Any]:
    return {
        "rules": list(rules.lines(redirect.planned)),
        "live": redirects.live_json(redirect),
        "difference": difference(redirect),
        "absent": redirects.fault_json(redirect.absent),
        "edited": redirects.fault_json(redirect.edited),
        "firewall": {
            "verdict": redirect.admission.verdict.value,
            "text": redirect.admission.words,
            "commands": list(redirect.admission.commands),
            "outbound": [_departure(one) for one in redirect.departures],
        },
        "unproxied": {str(port): list(found) for port, found in redirect.unproxied.items()},
        "refused": redirects.fault_json(redirect.refused),
        "refusals": list(redirect.refusals),
        "replacement": _replacement_json(redirect.replacement),
        "ready_once": redirect.ready_once,
        "guide": list(redirect.guide),
        "hand_made": list(redirect.hand_made),
    }


def render(redirect: "Redirect") -> Iterator[str]:
    yield "once the proxy is ready:"
    yield from (f"  {line}" for line in rules.lines(redirect.planned))
    yield ""
    yield from _live(redirect)
    yield ""
    yield from redirect.refusals
    yield replacement_way.words(redirect.replacement)
    if redirect.replacement and redirect.replacement.fix:
        yield f"  → {redirect.replacement.fix}"
    yield f"this host has {'' if redirect.ready_once else 'not '}been Ready since it was configured"
    yield ""
    yield redirect.admission.words
    yield from (f"  {command}" for command in redirect.admission.commands)
    yield from (one.words for one in redirect.departures)
    for port, addresses in redirect.unproxied.items():
        fact, remedy = unproxied.words(port, addresses, redirect.spec)
        yield ""
        yield fact
        yield f"  → {remedy}"
    if redirect.absent:
        yield ""
        yield f"{redirect.absent.reason}: {redirect.absent.entry.text} ({redirect.absent.detail})"
        yield f"  → {redirect.absent.entry.remedy}"
    yield from redirects.edited(redirect)
    if redirect.guide:
        yield ""
        yield "where this differs from Linkerd's guide:"
        yield from (f"  {line}" for line in redirect.guide)
    if redirect.hand_made:
        yield ""
        yield f"manually created chains of Linkerd's guide: {'; '.join(redirect.hand_made)}"
        yield "  → fairlead redirect adopt-guide"
    if redirect.refused:
        yield ""
        yield f"these rules would be refused: {redirect.refused.reason}: {redirect.refused.detail}"
        yield f"  → {redirect.refused.way_out}"
    if redirect.suspended and not redirect.live.on_trial:
        yield ""
        yield f"suspended: {redirect.suspended}"
        yield "  → fairlead redirect apply"


def _replacement_json(found: "Obstacle | None") -> dict[str, Any]:
    """How the proxy of this host is replaced."""
    return {"drains": found is not None, "why": found.why if found else "", "fix": found.fix if found else ""}


def _live(redirect: "Redirect") -> Iterator[str]:
    if redirect.unread:
        yield f"the live rules are not known: {redirect.unread.detail}"
        return
    if redirect.live.rules is None:
        yield "live: no rules"
        return
    changes = difference(redirect)
    if not changes:
        yield f"live: inbound {redirect.inbound.value}, outbound {redirect.outbound.value}, as planned"
        return
    yield "live (-) and planned (+):"
    yield from (f"  {line}" for line in changes)


def difference(redirect: "Redirect") -> list[str]:
    """[] if the live rules are the same plan at another level, or are not known."""
    if redirect.unread or redirect.as_planned:
        return []
    live, planned = list(rules.lines(redirect.live.rules)), list(rules.lines(redirect.planned))
    return list(difflib.unified_diff(live, planned, lineterm="", n=1))[2:]


def _departure(found: "Departure") -> dict[str, Any]:
    return {"version": found.version, "verdict": found.verdict.value, "text": found.words}
