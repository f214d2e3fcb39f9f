"""fairlead help [REASON]"""

import argparse
import difflib
from collections.abc import Iterator

from agent.cli.kit.exits import Exit, Failure
from agent.core.reasons import REGISTRY, Reason

DESCRIPTION = """\
Explains a reason that `fairlead status`, a condition, an Event or the log names: what is the case, what to do, and
which reasons can be its cause. Without a reason it lists all of them. It needs neither root nor an agent.

  fairlead help ProxyStopped
  fairlead help | grep Redirect"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reason", metavar="REASON", nargs="?", help="as it is written in the status")


def run(args: argparse.Namespace) -> int:
    print("\n".join(_every() if args.reason is None else _one(_named(args.reason))))
    return Exit.OK


def _every() -> Iterator[str]:
    width = max(len(reason.value) for reason in Reason)
    yield from (
        f"{reason.value:<{width}}  {REGISTRY[reason].text}" for reason in sorted(Reason, key=lambda r: r.value)
    )


def _named(text: str) -> Reason:
    """Whatever its case. Raises Failure."""
    known = {reason.value.lower(): reason for reason in Reason}
    if (found := known.get(text.lower())) is not None:
        return found
    near = difflib.get_close_matches(text.lower(), known, n=1)
    remedy = f"did you mean {known[near[0]].value}?" if near else "list them: fairlead help"
    raise Failure(Exit.USAGE, f"cannot explain {text}: there is no such reason", remedy)


def _one(reason: Reason) -> Iterator[str]:
    entry = REGISTRY[reason]
    yield f"{reason.value} ({entry.severity.value}): {entry.text}"
    if entry.remedy:
        yield f"  → {entry.remedy}"
    if entry.depends_on:
        yield f"  silent while one of these is named: {', '.join(sorted(one.value for one in entry.depends_on))}"
