"""fairlead drain"""

import argparse

from agent.cli.kit.follow import follow, follow_arguments, must_not_have_left
from agent.cli.kit.until import Status

DESCRIPTION = """\
Takes this host out of service without failing a request, and shows each step:
  1. Ready=False is published, and no EndpointSlice lists this host (without the right to read them: drain.settle)
  2. connections in flight end
The proxy keeps running, outbound connections still use it, and the redirect stays. The host stays drained
across restarts and reboots, until `fairlead undrain`. To stop the proxy too: `fairlead leave`.

  sudo fairlead drain               before maintenance; then: sudo fairlead undrain
  sudo fairlead drain --timeout 60  give up waiting after 60 s

Exit 0: drained; 75: --timeout has expired, and the drain continues without this command."""


def arguments(parser: argparse.ArgumentParser) -> None:
    follow_arguments(parser, "it is done", 120.0)


def run(args: argparse.Namespace) -> int:
    must_not_have_left(args, "drain this host")
    return follow(args, "drained", "drain this host", _drained)


def _drained(status: Status) -> bool:
    return bool(status["drained"])
