"""Loops run in virtual time: hours pass in no time, and nothing here may take two seconds of a core's time.

A core's own time, because the machine may be busy with other things. A test that sleeps for real spends none of
it, so there is a limit of real time too, far away.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import pytest

CAP = 20  # seconds of a core's time: ten times what the longest one takes on a slow machine
HUNG = 300  # seconds of real time


class Capped(BaseException):
    """Not an Exception, and no TimeoutError above all: loops catch those."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/loops/" in str(item.path):
            item.add_marker(pytest.mark.looptime)


@pytest.fixture(autouse=True)
def capped() -> Iterator[None]:
    def over(signum: int, frame: FrameType | None) -> None:
        raise Capped(f"a loop's test took more than {CAP} s of a core, or {HUNG} s")

    before = {number: signal.signal(number, over) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, CAP, CAP)
    signal.setitimer(signal.ITIMER_REAL, HUNG, CAP)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left over: {left}"
