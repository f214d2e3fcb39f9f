"""fairlead leave"""

import argparse

from agent.cli.kit.follow import follow, follow_arguments

DESCRIPTION = """\
Removes this host from the mesh without failing a request, and shows each step:
  1. Ready=False is published, and peers stop opening connections
  2. connections in flight end (drain.timeout at most)
  3. the outbound redirect is released, the proxy is stopped, the inbound redirect is removed
The host stays out of the mesh across restarts and reboots, until `fairlead join`.

  sudo fairlead leave  revert it with: sudo fairlead join"""


def arguments(parser: argparse.ArgumentParser) -> None:
    follow_arguments(parser, "it is done", 240.0)


def run(args: argparse.Namespace) -> int:
    return follow(args, "left", "leave the mesh", lambda status: bool(status["left"]))
