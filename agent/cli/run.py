"""fairlead run"""

import argparse

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.configuration import load
from agent.cli.kit.exits import Exit, Failure
from agent.host import Host

DESCRIPTION = """\
Runs the agent. It reads PREFIX/etc/fairlead/fairlead.toml and keeps this host in the mesh until a signal ends it.
SIGTERM and SIGINT do not change the proxy, the redirect or Ready; the next agent continues with them. To remove
the host from the mesh, use `fairlead leave`.

  fairlead run --prefix /tmp/db-1  in the foreground, with every file below that folder
  systemctl restart fairlead       on a host: traffic goes on meanwhile"""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--log", choices=["text", "json"], default="text", help="form of the log (default: text)")


def run(args: argparse.Namespace) -> int:
    import dataclasses  # noqa: F401 - a resident process has values with compiled methods: see core.late

    config = load(Host.below(args.prefix).configuration)
    from agent.daemon import main

    try:
        main.run(config, args.prefix, json_log=args.log == "json")
    except main.CannotStart as error:
        raise Failure(Exit.UNAVAILABLE, f"cannot start the agent: {error}", error.remedy) from None
    return Exit.OK
