"""fairlead doctor"""

import argparse
import difflib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli.kit import findings, formatting
from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.configuration import list_problems, read
from agent.cli.kit.exits import Exit, Failure
from agent.core.doctor import host_checks
from agent.core.doctor.check import Finding, exit_code

if TYPE_CHECKING:
    from agent.offline.join import Plan

DESCRIPTION = """\
Checks this host, in order of dependence, and says of each failure why it fails and what cures it. It changes
nothing on the host or in the cluster, and works without the agent. A check that depends on a failed one is not
run. What only root can see is skipped for other users.

  fairlead doctor                every check
  fairlead doctor clock trust    these, and those that they depend on
  fairlead doctor --list         what is checked, and in which order
  fairlead doctor --bundle FILE  before the host joins by this bundle

docs/doctor.md describes each check. Exit 0: no check failed; 2: one failed; 1: with --strict, a warning, or a
check that has no answer."""

_LONGEST = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="the names of checks (default: all)")
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", help="as this bundle of `fairlead enrol` would make the host"
    )
    parser.add_argument("--list", action="store_true", help="list the checks, and run none")
    parser.add_argument("--strict", action="store_true", help="exit 1 for a warning, or a check without an answer")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="for each check (default: 3; all: 20)"
    )


def run(args: argparse.Namespace) -> int:
    if args.list:
        print("\n".join(findings.listed(host_checks.HOST)))
        return Exit.OK
    _must_exist(args.checks)
    if not 0 < args.timeout <= _LONGEST:
        raise Failure(Exit.USAGE, "cannot run the checks: --timeout is not from 0 to 60 seconds")
    found = _examined(args)
    if args.json:
        print(json.dumps(findings.as_json(found, __version__), indent=2))
    else:
        print("\n".join(findings.render(found, formatting.of_terminal(time.time()))))
    return exit_code(found, strict=args.strict)


def _examined(args: argparse.Namespace) -> tuple[Finding, ...]:
    from agent.offline.doctor import before_join, main

    wanted = main.Wanted(tuple(args.checks), args.timeout)
    if args.bundle is None:
        return main.examine(args.prefix, wanted)
    try:
        return before_join.examine(args.prefix, _plan(args), wanted)
    except OSError as error:
        cause = f"cannot run the checks: {error.filename or ''}: {error.strerror}"
        raise Failure(Exit.FAILED, cause, "they need a folder for temporary files") from None


def _plan(args: argparse.Namespace) -> "Plan":
    from agent.config import ConfigError
    from agent.core.enrol import bundle
    from agent.offline import join

    try:
        return join.plan(args.prefix, bundle.read(read(args.bundle)), replace=True)
    except (bundle.Unusable, join.Refused) as error:
        raise Failure(Exit.CONFIG, f"cannot use the bundle: {error.cause}", error.remedy) from None
    except ConfigError as error:
        raise list_problems("the configuration of the bundle", error) from None


def _must_exist(names: list[str]) -> None:
    known = [check.name for check in host_checks.HOST]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else "fairlead doctor --list names all"
            raise Failure(Exit.USAGE, f"cannot run the check {name}: there is none of this name", remedy)
