"""fairlead plan"""

import argparse
import difflib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agent.cli.kit import rules
from agent.cli.kit.exits import Exit
from agent.cli.main import prefix_argument
from agent.core import text

if TYPE_CHECKING:
    from agent.core.redirect.departure import Departure
    from agent.offline.redirect import Redirect

HELP = "show the redirect rules, and how they differ from the live rules"
DESCRIPTION = """\
Shows the rules that PREFIX/etc/fairlead/fairlead.toml describes for a ready proxy, and how the live rules differ.
It changes nothing and works without the agent. To read the live rules it must run as root.
Exit 0: these rules can be set; 1: they would be refused, with the reason; 64: the configuration is wrong."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(args: argparse.Namespace) -> int:
    from agent.cli.redirect import view

    found = view(args.prefix, "plan the redirect")
    print(json.dumps(text.shown(as_json(found)), indent=2) if args.json else "\n".join(render(found)))
    return Exit.FAILED if found.refused else Exit.OK


def as_json(found: "Redirect") -> dict[str, Any]:
    return {
        "rules": list(rules.lines(found.planned)),
        "live": live_json(found),
        "difference": difference(found),
        "absent": _fault(found.absent),
        "edited": _fault(found.edited),
        "firewall": {
            "verdict": found.admission.verdict.value,
            "text": found.admission.words,
            "commands": list(found.admission.commands),
            "outbound": [_departure(one) for one in found.departures],
        },
        "refused": _fault(found.refused),
        "refusals": list(found.refusals),
        "ready_once": found.ready_once,
        "guide": list(found.guide),
        "hand_made": list(found.hand_made),
    }


def live_json(found: "Redirect") -> dict[str, Any]:
    return {
        "inbound": None if found.unread else found.inbound.value,
        "outbound": None if found.unread else found.outbound.value,
        "rules": list(rules.lines(found.live.rules)),
        "unread": _fault(found.unread),
        "suspended": found.suspended,
        "trial": found.live.trial.left if found.live.trial and found.live.on_trial else None,
    }


def render(found: "Redirect") -> Iterator[str]:
    yield "once the proxy is ready:"
    yield from (f"  {line}" for line in rules.lines(found.planned))
    yield ""
    yield from _live(found)
    yield ""
    yield from found.refusals
    yield f"this host has {'' if found.ready_once else 'not '}been Ready since it was configured"
    yield ""
    yield found.admission.words
    yield from (f"  {command}" for command in found.admission.commands)
    yield from (one.words for one in found.departures)
    if found.absent:
        yield ""
        yield f"{found.absent.reason}: {found.absent.entry.text} ({found.absent.detail})"
        yield f"  → {found.absent.entry.remedy}"
    yield from edited(found)
    if found.guide:
        yield ""
        yield "where this differs from Linkerd's guide:"
        yield from (f"  {line}" for line in found.guide)
    if found.hand_made:
        yield ""
        yield f"manually created chains of Linkerd's guide: {'; '.join(found.hand_made)}"
        yield "  → fairlead redirect adopt-guide"
    if found.refused:
        yield ""
        yield f"these rules would be refused: {found.refused.reason}: {found.refused.detail}"
        yield f"  → {found.refused.way_out}"
    if found.suspended and not found.live.on_trial:
        yield ""
        yield f"suspended: {found.suspended}"
        yield "  → fairlead redirect apply"


def edited(found: "Redirect") -> Iterator[str]:
    """An edited configuration takes effect only when an operator applies it."""
    if found.edited:
        yield ""
        yield f"{found.edited.reason}: {found.edited.entry.text} ({found.edited.detail})"
        yield f"  → {found.edited.way_out}"


def _live(found: "Redirect") -> Iterator[str]:
    if found.unread:
        yield f"the live rules are not known: {found.unread.detail}"
        return
    if found.live.rules is None:
        yield "live: no rules"
        return
    changes = difference(found)
    if not changes:
        yield f"live: inbound {found.inbound.value}, outbound {found.outbound.value}, as planned"
        return
    yield "live (-) and planned (+):"
    yield from (f"  {line}" for line in changes)


def difference(found: "Redirect") -> list[str]:
    """[] if the live rules are the same plan at another level, or are not known."""
    if found.unread or found.as_planned:
        return []
    live, planned = list(rules.lines(found.live.rules)), list(rules.lines(found.planned))
    return list(difflib.unified_diff(live, planned, lineterm="", n=1))[2:]


def _departure(found: "Departure") -> dict[str, Any]:
    return {"version": found.version, "verdict": found.verdict.value, "text": found.words}


def _fault(fault: Any) -> dict[str, str] | None:
    return {"reason": fault.reason.value, "detail": fault.detail} if fault else None
