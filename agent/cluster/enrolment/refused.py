"""Why a command of enrolment cannot do what it is asked."""

from collections.abc import Iterable

from agent.core.enrol.request import Problem
from agent.ports import Trouble


class Refused(Exception):
    """With every problem; at least one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.cause for problem in self.problems))


def refused(cause: str, remedy: str) -> Refused:
    return Refused([Problem(cause, remedy)])


def by_the_server(doing: str, trouble: Trouble) -> Refused:
    """`doing`: "write Lease shop/db-1"."""
    return refused(f"cannot {doing}: {trouble.detail}", trouble.fault.way_out)
