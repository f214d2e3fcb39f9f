"""fairlead join"""

import argparse
import time

from agent.cli.client import Client
from agent.cli.exits import Exit, Failure
from agent.cli.main import prefix_argument

HELP = "take this host back into the mesh"
DESCRIPTION = """\
Takes back a `fairlead leave`: the proxy is started, the redirect set, and the host becomes Ready when
identity, proxy, redirect and probes are as intended. Waits for that, up to --timeout."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the host is Ready")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait (default: 120)"
    )


def run(args: argparse.Namespace) -> int:
    client = Client(args.prefix, "join the mesh")
    status = client.phase("member")
    until = time.monotonic() + args.timeout
    said = ""
    while True:
        if status["headline"] != said:
            said = status["headline"]
            print(said, flush=True)
        if args.no_wait or (status["ready"]["status"] == "True" and status["goals"]["advertise"] == "yes"):
            return Exit.OK
        if time.monotonic() > until:
            raise Failure(Exit.LATE, f"cannot become Ready in time: {said}", "see: fairlead status --watch")
        status = client.status(after=status["version"])
