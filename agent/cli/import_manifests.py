"""fairlead import"""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from agent.cli.kit import operator
from agent.cli.kit.exits import Exit, Failure, complain

DESCRIPTION = """\
Reads manifests ("-": standard input) and prints what works with fairlead and Linkerd's open source: a
WorkloadGroup or ExternalGroup of other API groups, ExternalWorkloads of v1alpha1, with probes, with an inline
status or without meshTLS, Endpoints beside a Service without a selector, and Servers whose podSelector never
selects a host. A note on standard error says what was changed, and why. It asks no cluster and changes nothing.

  fairlead import guide.yaml --identity spiffe://root.linkerd.cluster.local/{name} | kubectl apply -f -"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help='"-": standard input')
    parser.add_argument(
        "--identity", default="", metavar="SPIFFE-ID", help="for what has none; with {name} filled in"
    )
    parser.add_argument("--linkerd-namespace", default="linkerd", metavar="NAMESPACE", help="default: linkerd")
    parser.add_argument(
        "--cluster-domain", default="cluster.local", metavar="DOMAIN", help="default: cluster.local"
    )
    parser.add_argument("-o", dest="output", choices=["yaml", "json"], default="yaml", help="how to print")


def run(args: argparse.Namespace) -> int:
    from agent.core.enrol.imports import imported

    bodies = [body for file in args.files for body in _documents(file)]
    done = imported(bodies, args.identity, args.linkerd_namespace, args.cluster_domain)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    if done.problems:
        *others, last = done.problems
        for problem in others:
            complain(problem.cause, problem.remedy)
        raise Failure(Exit.FAILED, f"cannot import these manifests: {last.cause}", last.remedy)
    operator.show_objects(done.bodies, args.output)
    return Exit.OK


def _documents(file: str) -> list[dict[str, Any]]:
    import yaml

    text = sys.stdin.read() if file == "-" else operator.read(file)
    file = "standard input" if file == "-" else file
    try:
        _refuse_twice(file, yaml.compose_all(text, yaml.SafeLoader))
        found = [body for body in yaml.safe_load_all(text) if body is not None]
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise Failure(Exit.FAILED, f"cannot read {file}: it is not YAML: {cause}", "correct it") from None
    for body in found:
        if (
            not isinstance(body, dict)
            or not isinstance(body.get("metadata"), dict)
            or "name" not in body["metadata"]
        ):
            cause = f"cannot read {file}: a document in it is not an object of Kubernetes with a name"
            raise Failure(Exit.FAILED, cause, "remove it")
    return found


def _refuse_twice(file: str, nodes: Iterable[Any]) -> None:
    """A key that an object has twice: of two manifests without --- between them, only the last would count."""
    left, seen = list(nodes), set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue  # an alias
        seen.add(id(node))
        pairs = node.value if node.id == "mapping" else ()
        keys = [key.value for key, _ in pairs if key.id == "scalar"]
        if again := next((key for at, key in enumerate(keys) if key in keys[:at]), None):
            line = next(key for key, _ in reversed(pairs) if key.value == again).start_mark.line + 1
            cause = f"cannot read {file}: line {line} has {again} for the second time in one object"
            raise Failure(Exit.FAILED, cause, "write a line --- between two manifests")
        left += [value for _, value in pairs] if pairs else node.value if node.id == "sequence" else ()
