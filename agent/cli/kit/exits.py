"""Exit codes, with those of sysexits(3) where one fits, and the output of errors."""

import enum
import os
import sys


class Exit(enum.IntEnum):
    OK = 0
    FAILED = 1  # the attempt failed
    USAGE = 2  # the command line is wrong
    NOT_READY = 3  # status: the host is not Ready (as systemctl is-active has it)
    CONFIG = 64  # the configuration is wrong; every problem was listed
    UNAVAILABLE = 69  # the agent, or another requirement, is not available
    BUG = 70  # of fairlead: the trace is where the message says
    LATE = 75  # not done in time; it may still be done later
    NOT_PERMITTED = 77


EPILOG = (
    "exit codes: 0 done, 1 failed, 2 usage, 3 not ready, 64 configuration, 69 unavailable, 70 bug, 75 late, "
    "77 not permitted"
)


def see_all(prefix: str) -> str:
    """The remedy if the configuration has problems that are too many to list here."""
    return f"see every problem: fairlead check-config {prefix}/etc/fairlead/fairlead.toml"


class Failure(Exception):
    """Ends a verb. `message`: "cannot <verb> <thing>: <cause>"; `remedy`: on the next line."""

    def __init__(self, code: Exit, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


def must_be_root(doing: str) -> None:
    """Raises Failure. The privileged helper serves only root; its own error would be less clear."""
    if os.geteuid() != 0:
        raise Failure(Exit.NOT_PERMITTED, f"cannot {doing}: not root", "run it with sudo")


def complain(message: str, remedy: str = "") -> None:
    print(f"fairlead: {message}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}", file=sys.stderr)
