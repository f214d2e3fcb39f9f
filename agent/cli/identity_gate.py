"""fairlead identity-gate [SOCKET SPIFFE-ID]"""

import argparse

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.exits import Exit, Failure, see_all

DESCRIPTION = """\
Asks the SPIFFE Workload API, as the current user, for an SVID that linkerd2-proxy can use and that the mesh's
trust anchors verify. The same check runs before each start of the proxy, as the proxy's user, because an SVID of
the agent does not show that the proxy gets one. In token mode it reads the token instead. Without arguments it
uses root's configuration. It writes nothing. With --wait it checks again at each update of the Workload API and
every second, so a corrected file counts at once. Each reason is reported once.
As the proxy's user: sudo -u fairlead-proxy fairlead identity-gate. Exit 0: there is an SVID; 69: there is none.

  sudo fairlead identity-gate                             by root's configuration
  sudo -u fairlead-proxy fairlead identity-gate           as the proxy's user
  fairlead identity-gate /run/spire/agent.sock SPIFFE-ID  by hand"""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("socket", nargs="?", metavar="SOCKET", help="path of the Workload API's unix socket")
    parser.add_argument("spiffe_id", nargs="?", metavar="SPIFFE-ID")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait for an SVID; inf: without limit (default: 0, check once)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each reason")


def run(args: argparse.Namespace) -> int:
    from agent.offline import gate, identity

    if (args.socket is None) is not (args.spiffe_id is None):
        raise Failure(Exit.USAGE, "cannot pass the gate: SOCKET or SPIFFE-ID is missing", "give both, or neither")

    def ask() -> gate.Gate:
        by_hand = args.socket is not None
        return gate.Gate(args.socket, args.spiffe_id) if by_hand else gate.gate_of(args.prefix)

    try:
        return gate.pass_gate(ask, args.wait, as_json=args.json)
    except identity.Unconfigured as error:
        raise Failure(Exit.CONFIG, f"cannot pass the gate: {error}", see_all(args.prefix)) from None
