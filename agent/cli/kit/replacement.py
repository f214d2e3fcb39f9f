"""A replacement of the proxy, followed to its end."""

import argparse
from typing import Any

from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.follow import LATE, serves, show
from agent.cli.kit.until import Status, statuses

ENDS = ("done", "back-again", "failed", "renewing", "cleared")


def follow_replacement(
    client: Client, first: Status, args: argparse.Namespace, doing: str, deadline: float
) -> int:
    """Follow it to its end, across a restart of the agent: the next agent continues it."""
    said = ""
    for status in statuses(client, deadline, first, restarts=True):
        change = status["facts"]["replacement"]
        if isinstance(change, dict):  # an agent that has just started has not read the record yet
            over = change["stage"] in ENDS and (serves(status) or status["phase"] != "member")
            said = show(status, args, over, said)
            if args.no_wait or over or change["stage"] in ENDS[1:]:
                return _judged(change, doing)
    raise Failure(Exit.LATE, f"cannot {doing} in time: {status['headline']}", LATE)


def _judged(change: dict[str, Any], doing: str) -> int:
    match change["stage"]:
        case "back-again":
            cause = f"{change['wanted'] or 'the new one'} did not become ready: {change['detail']}"
            again = f"{change['previous']} serves again" if change["previous"] else "the one before serves"
            raise Failure(Exit.FAILED, f"cannot {doing}: {cause}", again)
        case "failed" | "renewing" | "cleared":
            remedy = "check the proxy's log, and fairlead status"
            raise Failure(Exit.FAILED, f"cannot {doing}: it did not become ready: {change['detail']}", remedy)
    return Exit.OK
