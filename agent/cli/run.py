"""fairlead run"""

import argparse

from agent.cli.check_config import load
from agent.cli.kit.exits import Exit, Failure
from agent.cli.main import prefix_argument
from agent.host import Host

HELP = "run the agent (systemd does)"
DESCRIPTION = """\
Runs the agent: reads PREFIX/etc/fairlead/fairlead.toml, then watches and keeps this host's place in the mesh
until it is told to end. SIGTERM and SIGINT hand over: proxy, redirect and Ready stay as they are, and the next
agent takes them up. To take the host out of the mesh, use `fairlead leave`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--log", choices=["text", "json"], default="text", help="form of the log (default: text)")


def run(args: argparse.Namespace) -> int:
    config = load(Host.below(args.prefix).configuration)
    from agent.daemon import main

    try:
        main.run(config, args.prefix, json_log=args.log == "json")
    except main.CannotStart as error:
        raise Failure(Exit.UNAVAILABLE, f"cannot start the agent: {error}", error.remedy) from None
    return Exit.OK
