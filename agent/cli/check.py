"""fairlead check"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli.kit import findings, formatting, operator
from agent.cli.kit.exits import Exit
from agent.core.doctor import cluster_checks
from agent.core.doctor.check import Result, exit_code

if TYPE_CHECKING:
    from agent.cli.kit.formatting import Look
    from agent.cluster.checking.main import Report

DESCRIPTION = """\
Run by an operator, with kubectl's rights: checks what no host may read. Services that select a host and those that
nearly do, ports, EndpointSlices, other hosts with its address, Servers and policies, networks; and of the cluster
the version of Linkerd, the watcher, and what fairlead installs. It changes nothing. Also: kubectl fairlead check.

  fairlead check db-1 -n shop    one host
  fairlead check --group db      the members of a group
  fairlead check -A              every host
  fairlead check --list          what is checked, and in which order

docs/check.md describes each check. Exit 0: no check failed; 2: one failed; 1: with --strict, a warning, or a check
that has no answer."""


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("which hosts; all of them by default")
    which.add_argument("name", nargs="?", default="", metavar="NAME", help="of the ExternalWorkload")
    scope = which.add_mutually_exclusive_group()
    scope.add_argument("-n", "--namespace", default="", metavar="NAMESPACE")
    scope.add_argument("-A", "--all-namespaces", action="store_true", help="the default")
    which.add_argument("--group", default="", metavar="GROUP", help="with the label fairlead.dev/group=GROUP")
    parser.add_argument("--list", action="store_true", help="list the checks, and run none")
    parser.add_argument("--strict", action="store_true", help="exit 1 for a warning, or a check without an answer")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--linkerd-namespace", default="linkerd", metavar="NAMESPACE")
    operator.watcher_argument(parser)
    operator.cluster_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.list:
        print("\n".join(["the cluster", *findings.listed(cluster_checks.CLUSTER)]))
        print("\n".join(["", "each host", *findings.listed(cluster_checks.HOST)]))
        return Exit.OK
    report = _ask(args)
    if args.json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        print("\n".join(render(report, formatting.of_terminal(time.time()))))
    every = [*report.cluster, *(one for found in report.hosts.values() for one in found)]
    return exit_code(every, strict=args.strict)


def _ask(args: argparse.Namespace) -> "Report":
    from agent.cluster.checking import main

    question = main.Question(
        name=args.name,
        namespace=args.namespace,
        group=args.group,
        linkerd=args.linkerd_namespace,
        watcher=args.watcher_namespace,
        kubeconfig=args.kubeconfig,
        context=args.context,
    )
    with operator.failures("check hosts"):
        return main.examine(question)


def _as_json(report: "Report") -> dict[str, object]:
    """As `doctor` has it, with the checks of each host beside those of the cluster."""
    hosts = {label: findings.as_json(found, __version__)["checks"] for label, found in report.hosts.items()}
    return {**findings.as_json(report.cluster, __version__), "hosts": hosts}


def render(report: "Report", look: "Look") -> Iterator[str]:
    """Of many hosts, those without a trouble have one line each."""
    yield "the cluster"
    yield from findings.render(report.cluster, look)
    for label, found in report.hosts.items():
        yield ""
        if len(report.hosts) > 1 and all(one.outcome.result is Result.OK for one in found):
            yield f"{label}: {len(found)} ok"
            continue
        yield label
        yield from findings.render(found, look)
    if not report.hosts and all(one.outcome.result is not Result.FAIL for one in report.cluster):
        yield ""
        yield "no host: no ExternalWorkload is one of those that were asked for"
