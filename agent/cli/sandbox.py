"""fairlead sandbox"""

import argparse
import importlib.util
import os
from pathlib import Path

from agent.cli.kit.exits import Exit, Failure

DESCRIPTION = """\
Runs the whole product with embedded replacements: a host with an application in a network namespace, a Workload
API with a certificate authority, an API server, and a replacement for linkerd2-proxy. The host authenticates to
the API server with its SPIFFE identity (api.auth = "spiffe"), so it has no credential file. The network of your
machine is not changed, and everything is removed at the end, also after an error.

It explains each step and what to type next. With --check it runs the whole tour without input and ends with
"sandbox: N of N checks passed", exit 0 or 1. The other scenarios always run without input.

  fairlead sandbox                              the tour, step by step
  fairlead sandbox --check                      the tour without input
  fairlead sandbox --list-scenarios             what else it can show
  fairlead sandbox --check --scenario broken-1  a host with a fault, and what doctor says"""


SCENARIOS = {
    "tour": "one host joins, serves, loses its application, agent and API server, drains, leaves",
    "first-day": "a host with a running application follows docs/getting-started.md; its clients see no error",
    "dead-host": "three hosts and the watcher; the network of one is cut under load, then that of all",
    "fleet": "three hosts of one group; one joins late and one is retired under load; their clients see no error",
    "broken-1": "fairlead doctor finds, and cures: the name of the policy controller has no address",
    "broken-2": "fairlead doctor finds, and cures: the SVID has another SPIFFE ID",
    "broken-3": "fairlead doctor finds, and cures: the trust anchors do not cover the SVID",
    "broken-4": "fairlead doctor finds, and cures: a registration entry for the agent, and none for the proxy",
    "broken-5": "fairlead doctor finds, and cures: the application listens on loopback alone",
    "broken-6": "fairlead doctor finds, and cures: INPUT refuses the proxy's port 4143",
    "broken-7": "fairlead doctor finds, and cures: packets of full size to the control plane are lost",
    "broken-8": "fairlead doctor finds, and cures: the host may not write its status",
    "broken-9": "fairlead doctor finds, and cures: the host's clock is 10 minutes behind",
    "broken-10": "fairlead doctor finds, and cures: chains of Linkerd's guide are left",
    "hitless": "one host alone under load, whose proxy is replaced and killed; its meshed client sees no error",
    "upgrade": "two hosts under load, whose agents and proxies are replaced; their clients see no error",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="run the tour without input; exit 0 or 1")
    parser.add_argument(
        "--proxy", type=Path, metavar="PATH", help="use this linkerd2-proxy binary instead of the replacement"
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="tour",
        metavar="NAME",
        help=f"the scenario to run (default: tour): {', '.join(SCENARIOS)}; see --list-scenarios",
    )
    parser.add_argument("--list-scenarios", action="store_true", help="list the scenarios and exit")
    parser.add_argument("--verbose", action="store_true", help="show the agent's log too")


def run(args: argparse.Namespace) -> int:
    if args.list_scenarios:
        print("\n".join(f"{name:<10} {text}" for name, text in SCENARIOS.items()))
        return Exit.OK
    if os.geteuid() != 0:
        remedy = "run it as root: sudo make sandbox (it uses separate network namespaces)"
        raise Failure(Exit.NOT_PERMITTED, "cannot create network namespaces: not root", remedy)
    if importlib.util.find_spec("agent.sandbox") is None:
        raise Failure(
            Exit.UNAVAILABLE,
            "cannot start the sandbox: the package for hosts does not contain it",
            "run it from a checkout: make sandbox",
        )
    if args.proxy and not os.access(args.proxy, os.X_OK):
        raise Failure(
            Exit.USAGE, f"cannot use {args.proxy}: not an executable file", "name a linkerd2-proxy binary"
        )
    from agent.sandbox import main

    return main.run(check=args.check, proxy=args.proxy, verbose=args.verbose, scenario=args.scenario)
