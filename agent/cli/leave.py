"""fairlead leave"""

import argparse

from agent.cli.kit.follow import arguments as _arguments
from agent.cli.kit.follow import follow

HELP = "take this host out of the mesh"
DESCRIPTION = """\
Takes this host out of the mesh without failing a request, and shows each step:
  1. Ready=False, and time for the mesh to hear it
  2. connections in flight end (drain.timeout at most)
  3. the outbound redirect is let go, the proxy is stopped, the inbound redirect is taken away
The host stays out over restarts and reboots, until `fairlead join`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser, "it is done", 240.0)


def run(args: argparse.Namespace) -> int:
    return follow(args, "left", "leave the mesh", lambda status: bool(status["left"]))
