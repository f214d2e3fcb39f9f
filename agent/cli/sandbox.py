"""fairlead sandbox"""

import argparse
import importlib.util
import os
from pathlib import Path

from agent.cli.kit.exits import Exit, Failure

HELP = "watch a host join a mesh, here and now"
DESCRIPTION = """\
Runs the whole product on embedded stand-ins: a host in a network namespace of its own with an application,
a Workload API with its own authority, an API server, and a stand-in for linkerd2-proxy. The host comes to the
API server with its SPIFFE identity (api.auth = "spiffe"), so it holds no credential file. Your machine's
network is not touched, and nothing is left when it ends, however it ends.

It shows each step in plain words and what to type next. With --check it takes the whole tour by itself and
ends with "sandbox: N of N checks passed", exit 0 or 1. Each other scenario does so too, also without --check."""


SCENARIOS = {
    "tour": "one host joins, serves, loses its application, agent and API server, drains, leaves",
    "first-day": "a host with a running application follows docs/getting-started.md; its clients see no error",
    "upgrade": "two hosts under load, whose agents and proxies are replaced; their clients see no error",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="take the tour without asking; exit 0 or 1")
    parser.add_argument(
        "--proxy", type=Path, metavar="PATH", help="a real linkerd2-proxy binary in place of the stand-in"
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="tour",
        metavar="NAME",
        help=f"what happens, instead of the tour: {', '.join(SCENARIOS)}; see --list-scenarios",
    )
    parser.add_argument("--list-scenarios", action="store_true", help="name the scenarios, and end")
    parser.add_argument("--verbose", action="store_true", help="show the agent's log too")


def run(args: argparse.Namespace) -> int:
    if args.list_scenarios:
        print("\n".join(f"{name:<10} {text}" for name, text in SCENARIOS.items()))
        return Exit.OK
    if os.geteuid() != 0:
        remedy = "run it as root: sudo make sandbox (it works in namespaces of its own)"
        raise Failure(Exit.NOT_PERMITTED, "cannot make network namespaces: not root", remedy)
    if importlib.util.find_spec("agent.sandbox") is None:
        raise Failure(
            Exit.UNAVAILABLE,
            "cannot start the sandbox: this is the package for hosts, which comes without it",
            "run it from a checkout: make sandbox",
        )
    if args.proxy and not os.access(args.proxy, os.X_OK):
        raise Failure(
            Exit.USAGE, f"cannot use {args.proxy}: not an executable file", "name a linkerd2-proxy binary"
        )
    from agent.sandbox import main

    return main.run(check=args.check, proxy=args.proxy, verbose=args.verbose, scenario=args.scenario)
