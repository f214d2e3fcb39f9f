"""fairlead leave"""

import argparse
import time

from agent.cli.client import Client
from agent.cli.exits import Exit, Failure
from agent.cli.main import prefix_argument

HELP = "take this host out of the mesh"
DESCRIPTION = """\
Takes this host out of the mesh without failing a request, and shows each step:
  1. Ready=False, and time for the mesh to hear it
  2. connections in flight end (drain.timeout at most)
  3. the outbound redirect is let go, the proxy is stopped, the inbound redirect is taken away
The host stays out over restarts and reboots, until `fairlead join`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is done")
    parser.add_argument(
        "--timeout", type=float, default=240.0, metavar="SECONDS", help="how long to wait (default: 240)"
    )


def run(args: argparse.Namespace) -> int:
    client = Client(args.prefix, "leave the mesh")
    status = client.phase("left")
    until = time.monotonic() + args.timeout
    said = ""
    while True:
        if status["headline"] != said:
            said = status["headline"]
            print(said, flush=True)
        if status["left"] or args.no_wait:
            return Exit.OK
        if time.monotonic() > until:
            why = "; ".join(p["text"] for p in status["problems"]) or said
            raise Failure(
                Exit.LATE, f"cannot finish leaving in time: {why}", "it goes on; see: fairlead status --watch"
            )
        status = client.status(after=status["version"])
