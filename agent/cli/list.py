"""fairlead list"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cli.kit import formatting, operator, output
from agent.cli.kit.exits import Exit, complain

if TYPE_CHECKING:
    from agent.cluster.listing.main import Answer
    from agent.cluster.listing.rows import Row

DESCRIPTION = """\
Run by an operator, with kubectl's rights: lists every ExternalWorkload with its Ready condition and when its host
last renewed its Lease (by the host's clock). Where the watcher keeps a silent host in load balancing, HELD says
why. It works without a watcher, and says that none runs.

  fairlead list --not-ready
  fairlead list -n shop --group db --outdated -o wide"""

NO_WATCHER = "no watcher runs, so a host that dies stays in load balancing"
INSTALL = "install it: config/cluster/watcher.yaml; or name its namespace: --watcher-namespace"
EVERY = 5.0  # seconds


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("which hosts; all of them by default")
    scope = which.add_mutually_exclusive_group()
    scope.add_argument("-n", "--namespace", default="", metavar="NAMESPACE")
    scope.add_argument("-A", "--all-namespaces", action="store_true", help="the default")
    which.add_argument("--group", default="", metavar="GROUP", help="members of this WorkloadGroup")
    which.add_argument("--not-ready", action="store_true", help="only hosts that do not serve, or are held")
    which.add_argument(
        "--outdated", action="store_true", help="only members that an older template of their group made"
    )
    parser.add_argument("-o", dest="output", choices=["wide", "json"], default="", help="more columns, or JSON")
    parser.add_argument("--watch", action="store_true", help="again every 5 s, until interrupted")
    operator.watcher_argument(parser)
    operator.cluster_arguments(parser)


def run(args: argparse.Namespace) -> int:
    while True:
        answer = _ask(args)
        _show(answer, args)
        if not args.watch:
            return Exit.OK
        time.sleep(EVERY)


def _ask(args: argparse.Namespace) -> "Answer":
    from agent.cluster.listing import main

    question = main.Question(args.namespace, args.group, args.watcher_namespace, args.kubeconfig, args.context)
    with operator.failures("list hosts"):
        return main.ask(question)


def _show(answer: "Answer", args: argparse.Namespace) -> None:
    shown = [row for row in answer.rows if _wanted(row, args)]
    if args.output == "json":
        print(json.dumps([dataclasses.asdict(row) for row in shown], indent=None if args.watch else 2), flush=True)
    else:
        if args.watch:
            output.clear()
        print("\n".join(table(shown, time.time(), wide=args.output == "wide")), flush=True)
    if answer.watched is False:
        complain(NO_WATCHER, INSTALL)


def _wanted(row: "Row", args: argparse.Namespace) -> bool:
    return not (args.not_ready and row.serves) and not (args.outdated and row.template != "outdated")


def table(rows: "Sequence[Row]", now: float, *, wide: bool) -> Iterator[str]:
    """Aligned columns, as kubectl has them."""
    head = ["NAMESPACE", "NAME", "ZONE", "READY", "REASON", "SINCE", "RENEWED", "HELD"]
    lines = [head + (["GROUP", "ADDRESS", "AGENT", "PROXY", "SVID-ENDS", "TEMPLATE"] if wide else [])]
    lines += [_cells(row, now, wide=wide) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cells(row: "Row", now: float, *, wide: bool) -> list[str]:
    cells = [row.namespace, row.name, row.zone, row.ready, row.reason]
    cells += [formatting.age(row.since, now), _ago(row.renewed, now), row.held]
    if wide:
        cells += [row.group, ",".join(row.addresses), row.agent, row.proxy, row.svid_ends, row.template]
    return [cell or "-" for cell in cells]


def _ago(stamp: str, now: float) -> str:
    passed = formatting.age(stamp, now)
    return f"{passed} ago" if passed else stamp
