"""fairlead join"""

import argparse

from agent.cli.kit import redirects
from agent.cli.kit.follow import follow, follow_arguments, serves

HELP = "add this host to the mesh again"
DESCRIPTION = """\
Reverts a `fairlead leave`: the proxy is started, the redirect is set, and the host becomes Ready when identity,
proxy, redirect and probes are as intended. The command waits for that, up to --timeout.

A declared port whose server speaks first is not redirected while it is not opaque (ServerSpeaksFirst), because
connections of clients outside the mesh would fail. --force redirects it anyway; it needs root."""


def arguments(parser: argparse.ArgumentParser) -> None:
    follow_arguments(parser, "the host is Ready", 120.0)
    parser.add_argument(
        "--force", action="store_true", help="include ports whose server speaks first and that are not opaque"
    )


def run(args: argparse.Namespace) -> int:
    if args.force:
        redirects.ask(args, "join the mesh", "redirect accept-greetings")
    return follow(args, "member", "join the mesh", serves)
