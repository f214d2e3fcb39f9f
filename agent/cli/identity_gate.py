"""fairlead identity-gate [SOCKET SPIFFE-ID]"""

import argparse

from agent.cli.kit.exits import Exit, Failure, see_all
from agent.cli.main import prefix_argument

HELP = "say whether this user may get the proxy's identity"
DESCRIPTION = """\
Asks the SPIFFE Workload API, as the user who runs this, for an SVID that linkerd2-proxy can serve with and the
mesh's trust anchors cover. The same runs before each start of the proxy, as the proxy's own user: the agent's
SVID proves nothing about the proxy's. In token mode it looks for the token instead. Without arguments it asks for
what root's configuration names. It writes nothing. While it waits it judges again at each update of the Workload
API and every second, so that a file that was corrected counts at once. Each reason is said once.
As the proxy's user: sudo -u fairlead-proxy fairlead identity-gate. Exit 0: there is one; 69: none."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("socket", nargs="?", metavar="SOCKET", help="path of the Workload API's unix socket")
    parser.add_argument("spiffe_id", nargs="?", metavar="SPIFFE-ID")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait for one that is not there yet; inf: without end (default: 0, look once)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each reason")


def run(args: argparse.Namespace) -> int:
    from agent.offline import gate, identity

    if (args.socket is None) is not (args.spiffe_id is None):
        raise Failure(Exit.USAGE, "cannot pass the gate: SOCKET and SPIFFE-ID come together", "name both, or none")

    def ask() -> gate.Gate:
        by_hand = args.socket is not None
        return gate.Gate(args.socket, args.spiffe_id) if by_hand else gate.gate_of(args.prefix)

    try:
        return gate.pass_gate(ask, args.wait, as_json=args.json)
    except identity.Unconfigured as error:
        raise Failure(Exit.CONFIG, f"cannot pass the gate: {error}", see_all(args.prefix)) from None
