"""What the verbs of an operator share: the way to the cluster, and how objects are shown."""

import argparse
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.cli.kit.exits import Exit, Failure, complain


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", required=True, help="of the ExternalWorkload")
    cluster_arguments(parser)


def cluster_arguments(parser: argparse.ArgumentParser) -> None:
    cluster = parser.add_argument_group("the cluster")
    cluster.add_argument("--kubeconfig", default="", metavar="FILE", help="default: as kubectl")
    cluster.add_argument("--context", default="", metavar="NAME", help="default: the file's current one")


def watcher_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watcher-namespace",
        default="fairlead-system",
        metavar="NAMESPACE",
        help="where the watcher's Lease is (default: fairlead-system)",
    )


@contextlib.contextmanager
def failures(doing: str) -> Iterator[None]:
    """Refusals end the verb; each of several problems is shown with its remedy."""
    from agent.cluster.enrolment.refused import Refused

    try:
        yield
    except Refused as error:
        *others, last = error.problems
        for problem in others:
            complain(problem.cause, problem.remedy)
        cause = last.cause if last.cause.startswith("cannot ") else f"cannot {doing}: {last.cause}"
        raise Failure(Exit.FAILED, cause, last.remedy) from None


def show_objects(bodies: Iterable[Mapping[str, Any]], output: str) -> None:
    if output == "json":
        show({"apiVersion": "v1", "kind": "List", "items": list(bodies)}, output)
    else:
        print("---\n".join(map(as_yaml, bodies)), end="")


def as_yaml(body: Mapping[str, Any]) -> str:
    """As people write it: what is there twice is written twice, and not by reference."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    text: str = yaml.dump(dict(body), Dumper=Plain, sort_keys=False)
    return text


def show(report: Mapping[str, Any], output: str) -> None:
    if output == "yaml":
        import yaml

        print(yaml.safe_dump(dict(report), sort_keys=False), end="")
    else:
        print(json.dumps(report, indent=2))


def read(file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Failure(Exit.FAILED, f"cannot read {file}: {cause}", "name a file that you can read") from None
