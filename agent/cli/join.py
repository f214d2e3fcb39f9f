"""fairlead join"""

import argparse

from agent.cli import redirect
from agent.cli.kit.follow import arguments as _arguments
from agent.cli.kit.follow import follow, serves

HELP = "take this host back into the mesh"
DESCRIPTION = """\
Takes back a `fairlead leave`: the proxy is started, the redirect set, and the host becomes Ready when
identity, proxy, redirect and probes are as intended. Waits for that, up to --timeout.

A declared port whose server speaks first is not redirected while it is not opaque (ServerSpeaksFirst), for its
plain clients would be dropped. --force, which needs root, redirects it all the same."""


def arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser, "the host is Ready", 120.0)
    parser.add_argument(
        "--force", action="store_true", help="also a port whose server speaks first and that is not opaque"
    )


def run(args: argparse.Namespace) -> int:
    if args.force:
        redirect.ask(args, "join the mesh", "redirect accept-greetings")
    return follow(args, "member", "join the mesh", serves)
