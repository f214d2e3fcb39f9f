"""Loops run in virtual time: hours pass in no time, and nothing here may take two seconds of real time."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import pytest

CAP = 2  # seconds of real time


class Capped(BaseException):
    """Not an Exception, and no TimeoutError above all: loops catch those."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/loops/" in str(item.path):
            item.add_marker(pytest.mark.looptime)


@pytest.fixture(autouse=True)
def capped() -> Iterator[None]:
    def over(signum: int, frame: FrameType | None) -> None:
        raise Capped(f"a loop's test took more than {CAP} s of real time")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, CAP, CAP)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left over: {left}"
