"""fairlead group sync"""

import argparse
import sys

from agent.cli.kit import operator
from agent.cli.kit.exits import Exit

DESCRIPTION = """\
Run by an operator, with kubectl's rights.
  sync      bring each ExternalWorkload of the group that an older template made to the present one;
            --dry-run names them, and changes nothing. A host's own configuration changes only by `fairlead join`
            with a new bundle.

  fairlead group sync db -n shop --dry-run"""


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="sync", required=True)
    sync = verbs.add_parser("sync", help="bring the members to the template")
    sync.add_argument("name", metavar="GROUP")
    operator.arguments(sync)
    sync.add_argument("--dry-run", action="store_true", help="name the outdated members, and change nothing")
    sync.set_defaults(act=_sync)


def run(args: argparse.Namespace) -> int:
    code: int = args.act(args)
    return code


def _sync(args: argparse.Namespace) -> int:
    from agent.cluster.enrolment import main

    way = main.Way(args.kubeconfig, args.context)
    with operator.failures(f"sync {args.namespace}/{args.name}"):
        done = main.sync(
            *(way, args.name, args.namespace, lambda line: print(f"applied {line}", file=sys.stderr)),
            dry=args.dry_run,
        )
    for name in done.changed:
        print(f"{args.namespace}/{name}: {'outdated' if args.dry_run else 'brought up to date'}")
    print(f"{done.members} members, {len(done.changed)} of them outdated{'' if args.dry_run else ' before'}")
    return Exit.OK
