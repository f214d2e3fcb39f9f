"""fairlead probe push NAME"""

import argparse
import re

from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit
from agent.cli.main import prefix_argument

HELP = "say for an application that it is well"
DESCRIPTION = """\
`fairlead probe push NAME --ttl 30s` says that the application is well now and for the next 30 s. The probe
must stand in the configuration with kind = "push". It passes from the first push on, and fails as soon as
the time of the last one has expired; before the first there is no verdict.

Call it again well before the time is over, for example each 10 s for a ttl of 30 s."""

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("verb", choices=["push"], metavar="push", help="send one heartbeat")
    parser.add_argument("name", metavar="NAME", help="a probe of kind push")
    parser.add_argument(
        "--ttl",
        type=duration,
        metavar="TIME",
        help="how long this push vouches: 30, 30s, 5m or 1h (default: the probe's ttl, which is also the most)",
    )


def run(args: argparse.Namespace) -> int:
    Client(args.prefix, f"push probe {args.name}", timeout=10.0).push(args.name, args.ttl)
    return Exit.OK


def duration(text: str) -> float:
    """Seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30s, 5m or 1h")
    return float(found[1]) * UNITS[found[2]]
