"""fairlead join"""

import argparse

from agent.cli.follow import arguments as _arguments
from agent.cli.follow import follow, serves

HELP = "take this host back into the mesh"
DESCRIPTION = """\
Takes back a `fairlead leave`: the proxy is started, the redirect set, and the host becomes Ready when
identity, proxy, redirect and probes are as intended. Waits for that, up to --timeout."""


def arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser, "the host is Ready", 120.0)


def run(args: argparse.Namespace) -> int:
    return follow(args, "member", "join the mesh", serves)
