"""fairlead check-config FILE"""

import argparse
import sys
from pathlib import Path

from agent import config
from agent.cli.exits import Exit, Failure, complain

HELP = "name every problem of a configuration file"
DESCRIPTION = """\
Reads a configuration and names every problem at once: file, key, what is wrong, what to do.
Touches nothing of the host, so it works anywhere. Exit 0: good, perhaps with warnings; 64: problems."""

WRITE = "write it after the example: /usr/share/doc/fairlead/examples/fairlead.toml, config/ in a checkout"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    found = load(args.file)
    for warning in config.warnings(found):
        print(f"{args.file}: warning: {warning.key}: {warning.cause}\n  {warning.remedy}", file=sys.stderr)
    print(f"{args.file}: good")
    for refusal in config.refusals(found):
        print(f"  {refusal}")
    return Exit.OK


def load(file: Path) -> config.Config:
    """The Config in `file`; every problem goes to standard error, then Failure with Exit.CONFIG."""
    try:
        return config.parse(file.read_text(encoding="utf-8"))
    except PermissionError as error:
        remedy = "run it with sudo, or let this user read it"
        raise Failure(Exit.NOT_PERMITTED, f"cannot read {file}: {error.strerror}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Failure(Exit.CONFIG, f"cannot read {file}: {cause}", WRITE) from None
    except config.ConfigError as error:
        for problem in error.problems:
            where = f"{file}: {problem.key}" if problem.key else str(file)
            complain(f"{where}: {problem.cause}", problem.remedy)
        count = len(error.problems)
        raise Failure(Exit.CONFIG, f"cannot use {file}: {count} problem{'s' * (count > 1)}") from None
