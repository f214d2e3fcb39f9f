"""fairlead drain"""

import argparse

from agent.cli.kit.follow import arguments as _arguments
from agent.cli.kit.follow import follow, must_not_have_left
from agent.cli.kit.until import Status

HELP = "let nobody come to this host any more, and keep the proxy running"
DESCRIPTION = """\
Takes this host out of service without failing a request, and shows each step:
  1. Ready=False, and no EndpointSlice lists this host any more (without the right to see them: drain.settle)
  2. connections in flight end
The proxy runs on, what the host itself opens goes through it, and the redirect stays. The host stays drained
over restarts and reboots, until `fairlead undrain`. To stop the proxy too: `fairlead leave`.

Done is exit 0. After --timeout it is exit 75: the drain goes on, only this command does not wait for it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser, "it is done", 120.0)


def run(args: argparse.Namespace) -> int:
    must_not_have_left(args, "drain this host")
    return follow(args, "drained", "drain this host", _drained)


def _drained(status: Status) -> bool:
    return bool(status["drained"])
