"""fairlead identity-gate SOCKET SPIFFE-ID"""

import argparse

HELP = "say whether this user may get the proxy's identity"
DESCRIPTION = """\
Asks the SPIFFE Workload API, as the user who runs this, for an SVID that linkerd2-proxy can serve with.
It is what stands before each start of the proxy. Exit 0: there is one; 69: there is none, and why."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("socket", metavar="SOCKET", help="path of the Workload API's unix socket")
    parser.add_argument("spiffe_id", metavar="SPIFFE-ID")
    parser.add_argument(
        "--wait", type=float, default=10.0, metavar="SECONDS", help="how long to wait (default: 10)"
    )


def run(args: argparse.Namespace) -> int:
    from agent import offline

    return offline.identity_gate(args.socket, args.spiffe_id, args.wait)
