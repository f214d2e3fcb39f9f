"""Asks the agent for a phase and follows it to its end, telling each step."""

import argparse
import time
from collections.abc import Callable
from typing import Any

from agent.cli.client import Client
from agent.cli.exits import Exit, Failure
from agent.cli.main import prefix_argument

Status = dict[str, Any]


def arguments(parser: argparse.ArgumentParser, until: str, timeout: float) -> None:
    prefix_argument(parser)
    parser.add_argument("--no-wait", action="store_true", help=f"do not wait until {until}")
    parser.add_argument(
        "--timeout",
        type=float,
        default=timeout,
        metavar="SECONDS",
        help=f"how long to wait (default: {timeout:g})",
    )


def follow(args: argparse.Namespace, phase: str, doing: str, done: Callable[[Status], bool]) -> Exit:
    """Ask for `phase`, and print each headline until `done`. Raises Failure: Exit.LATE after --timeout."""
    client = Client(args.prefix, doing)
    status = client.phase(phase)
    deadline = time.monotonic() + args.timeout
    said = ""
    while True:
        if status["headline"] != said:
            said = status["headline"]
            print(said, flush=True)
        if args.no_wait or done(status):
            return Exit.OK
        rest = deadline - time.monotonic()
        if rest <= 0:
            why = "; ".join(p["text"] for p in status["problems"]) or said
            raise Failure(Exit.LATE, f"cannot {doing} in time: {why}", "it goes on; see: fairlead status --watch")
        status = client.status(after=status["version"], wait=rest)
