"""Asks the agent for a phase and follows it to its end, with each step shown."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from agent.cli.kit import until
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.until import Status, statuses

LATE = "it continues; see: fairlead status --watch"


def follow_arguments(parser: argparse.ArgumentParser, until: str, timeout: float) -> None:
    prefix_argument(parser)
    parser.add_argument("--no-wait", action="store_true", help=f"do not wait until {until}")
    parser.add_argument("--json", action="store_true", help="each step as one line of JSON")
    parser.add_argument(
        "--timeout",
        type=float,
        default=timeout,
        metavar="SECONDS",
        help=f"how long to wait (default: {timeout:g})",
    )


def follow(args: argparse.Namespace, phase: str, doing: str, done: Callable[[Status], bool]) -> Exit:
    """Ask for `phase`, and print each step until `done`. Raises Failure: Exit.LATE after --timeout."""
    client = until.client(args, doing)
    return watch(client, client.phase(phase), args, doing, done)


def watch(
    client: Client, first: Status, args: argparse.Namespace, doing: str, done: Callable[[Status], bool]
) -> Exit:
    """Print each step from the status `first` on, until `done`. Raises Failure: Exit.LATE after --timeout."""
    shown = ""
    for status in statuses(client, time.monotonic() + args.timeout, first):
        shown = show(status, args, done(status), shown)
        if args.no_wait or done(status):
            return Exit.OK
    why = "; ".join(p["text"] for p in status["problems"]) or status["headline"]
    raise Failure(Exit.LATE, f"cannot {doing} in time: {why}", LATE)


def show(status: Status, args: argparse.Namespace, done: bool, shown: str) -> str:
    """Print this step unless it was the last one printed (`said`); return it."""
    step = json.dumps(_step(status, done)) if args.json else str(status["headline"])
    if step != shown:
        print(step, flush=True)
    return step


def _step(status: Status, done: bool) -> dict[str, Any]:
    """`listed`: an EndpointSlice lists this host as ready; `in_flight`: connections; null where not known."""
    slices, proxy = status["facts"]["slices"], status["facts"]["proxy"]
    listed = "unknown" if slices == "unknown" else slices["listed"]
    return {
        "phase": status["phase"],
        "headline": status["headline"],
        "ready": status["ready"]["status"],
        "listed": None if listed == "unknown" else listed,
        "in_flight": None if proxy == "unknown" else proxy["in_flight"],
        "problems": [problem["reason"] for problem in status["problems"]],
        "done": done,
    }


def serves(status: Status) -> bool:
    return bool(status["ready"]["status"] == "True" and status["goals"]["advertise"] == "yes")


def must_not_have_left(args: argparse.Namespace, doing: str) -> None:
    """Raises Failure: a host without a proxy can neither drain nor serve."""
    if until.client(args, doing).status()["phase"] == "left":
        raise Failure(Exit.FAILED, f"cannot {doing}: it has left the mesh", "join first: fairlead join")
