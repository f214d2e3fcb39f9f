"""fairlead check-config [FILE]"""

import argparse
import json
import sys
from pathlib import Path

from agent import config
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.configuration import load, name, read
from agent.cli.kit.exits import Exit
from agent.host import Host

DESCRIPTION = """\
Reads a configuration and lists every problem with its file, key, cause and remedy.
Without FILE it reads /etc/fairlead/fairlead.toml below --prefix; with "-", standard input.
--json writes {"file", "good", "problems", "warnings", "while_not_ready"}; a problem has "key", "cause", "remedy".
It does not depend on the host and does not change it. Exit 0: good, perhaps with warnings; 64: problems.

  fairlead check-config                  the configuration of this host
  fairlead check-config fairlead.toml    a file, before it is copied to a host
  fairlead check-config --json - < FILE  standard input, with the result for a program"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help='default: /etc/fairlead/fairlead.toml below --prefix; "-": stdin'
    )
    prefix_argument(parser)
    parser.add_argument("--json", action="store_true", help="write the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    file = Host.below(args.prefix).configuration if args.file is None else Path(args.file)
    return _as_json(file) if args.json else _as_text(file)


def _as_text(file: Path) -> int:
    parsed = load(file)
    for warning in config.warnings(parsed):
        print(f"{name(file)}: warning: {warning.key}: {warning.cause}\n  {warning.remedy}", file=sys.stderr)
    print(f"{name(file)}: good")
    for refusal in config.refusals(parsed):
        print(f"  {refusal}")
    return Exit.OK


def _as_json(file: Path) -> int:
    """A file that cannot be read raises Failure here too: its keys are unknown."""
    problems: tuple[config.Problem, ...] = ()
    warnings: list[config.Problem] = []
    while_not_ready: list[str] = []
    try:
        parsed = config.parse(read(file))
        warnings, while_not_ready = list(config.warnings(parsed)), list(config.refusals(parsed))
    except config.ConfigError as error:
        problems = error.problems
    report = {
        "file": name(file),
        "good": not problems,
        "problems": [_fields(problem) for problem in problems],
        "warnings": [_fields(warning) for warning in warnings],
        "while_not_ready": while_not_ready,
    }
    print(json.dumps(report, indent=2))
    return Exit.CONFIG if problems else Exit.OK


def _fields(problem: config.Problem) -> dict[str, str]:
    return {"key": problem.key, "cause": problem.cause, "remedy": problem.remedy}
