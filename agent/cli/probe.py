"""fairlead probe push NAME"""

import argparse
import re

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit

DESCRIPTION = """\
`fairlead probe push NAME --ttl 30s` reports that the application is healthy for the next 30 s. The probe must be
in the configuration with kind = "push". It passes from the first push on, and fails when the ttl of the last push
has expired. Before the first push its result is unknown.

The application's user must be in the group fairlead-push, which opens this socket and nothing else.

Push again well before the ttl expires, for example every 10 s for a ttl of 30 s.

  fairlead probe push app --ttl 30s"""

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("verb", choices=["push"], metavar="push", help="send one heartbeat")
    parser.add_argument("name", metavar="NAME", help="a probe of kind push")
    parser.add_argument(
        "--ttl",
        type=duration,
        metavar="TIME",
        help="how long this push is valid: 30, 30s, 5m or 1h (default and maximum: the probe's ttl)",
    )


def run(args: argparse.Namespace) -> int:
    Client(args.prefix, f"push probe {args.name}", timeout=10.0, pushes=True).push(args.name, args.ttl)
    return Exit.OK


def duration(text: str) -> float:
    """Seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 30s, 5m or 1h")
    return float(match[1]) * UNITS[match[2]]
