"""The redirect, as its verbs ask for it and show it."""

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent.cli.kit import rules
from agent.cli.kit.exits import Exit, Failure, must_be_root, see_all
from agent.core.reasons import Fault, Reason

if TYPE_CHECKING:
    from agent.offline.redirect import Redirect

_MOST_PORTS = 16  # that one request takes
_REMEDIES = {Reason.REDIRECT_FORBIDDEN: "run it with sudo"}
_CODES = {Reason.REDIRECT_FORBIDDEN: Exit.NOT_PERMITTED, Reason.CONFIGURATION_UNUSABLE: Exit.CONFIG}


def view(prefix: str, doing: str) -> "Redirect":
    from agent.offline import helper, redirect

    try:
        return redirect.read(prefix)
    except helper.Refused as refused:
        raise Failure(Exit.CONFIG, f"cannot {doing}: {refused.fault.detail}", see_all(prefix)) from None


def ask(args: argparse.Namespace, doing: str, verb: str, **words: str) -> Mapping[str, Any]:
    from agent.offline import helper

    must_be_root(doing)
    try:
        return helper.ask(args.prefix, verb, **words)
    except helper.Refused as refused:
        raise failed(doing, refused.fault) from None


def session() -> dict[str, str]:
    """The ports that this login session uses: the privileged helper has no session."""
    from agent.offline import helper

    ports = sorted(helper.session_ports())[:_MOST_PORTS]
    return {"session": ",".join(map(str, ports))} if ports else {}


def failed(doing: str, fault: Fault) -> Failure:
    cause = fault.detail.removeprefix("cannot ") if fault.detail.startswith(f"cannot {doing}") else fault.detail
    message = f"cannot {cause}" if cause != fault.detail else f"cannot {doing}: {cause}"
    remedy = _REMEDIES.get(fault.reason, fault.way_out)
    return Failure(_CODES.get(fault.reason, Exit.FAILED), f"{message} [{fault.reason}]", remedy)


def live_json(redirect: "Redirect") -> dict[str, Any]:
    return {
        "inbound": None if redirect.unread else redirect.inbound.value,
        "outbound": None if redirect.unread else redirect.outbound.value,
        "rules": list(rules.lines(redirect.live.rules)),
        "unread": fault_json(redirect.unread),
        "suspended": redirect.suspended,
        "trial": redirect.live.trial.left if redirect.live.trial and redirect.live.on_trial else None,
    }


def edited(redirect: "Redirect") -> Iterator[str]:
    """An edited configuration takes effect only when an operator applies it."""
    if redirect.edited:
        yield ""
        yield f"{redirect.edited.reason}: {redirect.edited.entry.text} ({redirect.edited.detail})"
        yield f"  → {redirect.edited.way_out}"


def fault_json(fault: Any) -> dict[str, str] | None:
    return {"reason": fault.reason.value, "detail": fault.detail} if fault else None
