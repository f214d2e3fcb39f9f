"""A configuration file, and what is wrong with it, for every verb that reads one."""

import sys
from pathlib import Path

from agent import config
from agent.cli.kit.exits import Exit, Failure, complain

STANDARD_INPUT = "-"
WRITE = "write it after the example: /usr/share/doc/fairlead/examples/fairlead.toml, config/ in a checkout"


def load(file: Path) -> config.Config:
    """The Config in `file`; every problem goes to standard error, then Failure with Exit.CONFIG."""
    text = read(file)
    try:
        return config.parse(text)
    except config.ConfigError as error:
        raise list_problems(name(file), error) from None


def list_problems(what: str, error: config.ConfigError) -> Failure:
    """Every problem goes to standard error; the Failure counts them."""
    for problem in error.problems:
        complain(
            f"{what}: {problem.key}: {problem.cause}" if problem.key else f"{what}: {problem.cause}",
            problem.remedy,
        )
    count = len(error.problems)
    return Failure(Exit.CONFIG, f"cannot use {what}: {count} problem{'s' * (count > 1)}")


def read(file: Path, missing: str = WRITE) -> str:
    """`missing`: the remedy where it cannot be read."""
    try:
        read = sys.stdin.buffer.read() if str(file) == STANDARD_INPUT else file.read_bytes()
        return read.decode()
    except PermissionError as error:
        remedy = "run it with sudo, or make the file readable for this user"
        raise Failure(Exit.NOT_PERMITTED, f"cannot read {file}: {error.strerror}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Failure(Exit.CONFIG, f"cannot read {name(file)}: {cause}", missing) from None


def name(file: Path) -> str:
    return "standard input" if str(file) == STANDARD_INPUT else str(file)
