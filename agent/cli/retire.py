"""fairlead retire"""

import argparse
import sys

from agent.cli.kit import operator
from agent.cli.kit.exits import Exit, Failure

DESCRIPTION = """\
Run by an operator, with kubectl's rights. Asks the host to drain (it publishes Ready=False, Retired) and waits
until no request is in flight there. Then deletes the host's rights and its Lease, and last its ExternalWorkload. A
host that does not renew its Lease first loses its right to write, then Ready.

The ExternalWorkload of a host that did not say that nothing is in flight stays, not Ready, for 10 minutes: exit 75
says so, and the command is run again then. A run that was broken off is completed by the next one.

With --due it retires the members of WorkloadGroups that the watcher has found silent for spec.retire.after days.
config/cluster/watcher-retire.yaml runs that every hour.

  fairlead retire db-1 -n shop"""


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("name", metavar="NAME", nargs="?", help="of the ExternalWorkload")
    which.add_argument("--due", action="store_true", help="members that have been silent for days")
    parser.add_argument(
        "-n",
        "--namespace",
        default="",
        help="of the ExternalWorkload; with --due, of WorkloadGroups (default: all namespaces)",
    )
    operator.cluster_arguments(parser)
    parser.add_argument(
        "--timeout", type=float, default=180.0, metavar="SECONDS", help="for the drain (default: 180)"
    )


def run(args: argparse.Namespace) -> int:
    from agent.cluster.enrolment import main

    way = main.Way(args.kubeconfig, args.context)
    if args.due:
        with operator.failures("retire old members"):
            retired = main.retire_due(way, args.namespace, _say)
        print(f"{retired.done} retired, {retired.kept} stay for now")
        return Exit.OK
    if not args.name or not args.namespace:
        raise Failure(Exit.USAGE, "cannot retire: no host is named", "give NAME and -n NAMESPACE, or --due")
    label = f"{args.namespace}/{args.name}"
    with operator.failures(f"retire {label}"):
        outcome = main.retire(way, args.name, args.namespace, args.timeout, _say)
    if outcome.kept:
        raise Failure(Exit.LATE, f"cannot retire {label} yet: {outcome.kept}", outcome.remedy)
    if outcome.absent:
        print(f"there is no ExternalWorkload {label}, nor anything else of it; see `fairlead list`")
        return Exit.OK
    print(f"{label} is retired; delete its entries at SPIRE's server, and on the host: fairlead leave")
    return Exit.OK


def _say(line: str) -> None:
    print(line, file=sys.stderr)
