"""fairlead undrain"""

import argparse

from agent.cli.kit.follow import arguments as _arguments
from agent.cli.kit.follow import follow, must_not_have_left, serves

HELP = "take back a drain"
DESCRIPTION = """\
Takes back a `fairlead drain`: the host becomes Ready when identity, proxy, redirect and probes are as
intended. Waits for that, up to --timeout. Does nothing to a host that serves already."""


def arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser, "the host is Ready", 120.0)


def run(args: argparse.Namespace) -> int:
    must_not_have_left(args, "undrain this host")
    return follow(args, "member", "undrain this host", serves)
