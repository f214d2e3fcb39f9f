"""fairlead wait"""

import argparse
import time
from typing import Any

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.configuration import load
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.until import statuses
from agent.host import Host

DESCRIPTION = """\
Waits until the proxy is ready, the policy controller has answered it, and the redirect is as intended, for
ready.wait (90 s) at most. It does not wait for Ready=True: the probes wait for the application, and the
application may wait for this command, with Wants= and After= fairlead-ready.target. On a host that has left the
mesh it returns at once.

  fairlead wait --timeout 30  before a program that calls services of the mesh

Exit 0: as intended; 75: the timeout has expired; 69: no agent is running."""

DOING = "wait for the mesh"
NEEDED = frozenset({"ProxyReady", "RedirectActive"})
# If Ready does not wait for the controller (`default_inbound_policy = "deny"`), there is no such condition.
IF_THERE = frozenset({"ControlPlaneReached"})


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait (default: ready.wait)")


def run(args: argparse.Namespace) -> int:
    config = load(Host.below(args.prefix).configuration)
    seconds = config.ready.wait if args.timeout is None else args.timeout
    client = Client(args.prefix, DOING, timeout=15.0)
    for status in statuses(client, time.monotonic() + seconds, restarts=True):
        if as_intended(status):
            return Exit.OK
    cause = f"not as intended after {seconds:g} s: {status['headline']}"
    raise Failure(Exit.LATE, f"cannot {DOING}: {cause}", "see: fairlead status")


def as_intended(status: dict[str, Any]) -> bool:
    words = {condition["type"]: condition["status"] for condition in status["conditions"]}
    needed = NEEDED | IF_THERE & words.keys()
    return status["phase"] == "left" or all(words.get(name) == "True" for name in needed)
