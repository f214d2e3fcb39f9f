"""Asks the agent until a condition holds or a deadline passes: the loop of every verb that waits for the agent.

Only this loop checks the deadline. A verb returns or raises inside `for status in statuses(…)`; the code after
the loop handles the timeout.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure

Status = dict[str, Any]
RETRY = 0.5  # seconds until the next attempt, if no agent answers
STEP = 1.0  # seconds that one request waits for a change: a step may end by time alone
ANSWER = 2.0  # seconds that the agent has for its last answer
ORDER = 10.0  # seconds after the deadline that it has to accept an order
LONGEST = 70.0  # seconds for any answer


def client(args: argparse.Namespace, doing: str) -> Client:
    """For a verb with --timeout: an agent that does not answer a request cannot delay it longer."""
    return Client(args.prefix, doing, timeout=min(LONGEST, max(0.0, args.timeout) + ORDER))


def statuses(
    client: Client, deadline: float, first: Status | None = None, *, restarts: bool = False
) -> Iterator[Status]:
    """Yield `first` (None: the status now) and each status after it; end once `deadline` (monotonic) has passed.

    `restarts`: wait for the next agent if there is none. Raises Failure (Exit.UNAVAILABLE) if no agent
    answers: at once, or with `restarts` after the deadline.
    """
    status = first if first is not None else _ask(client, None, deadline, restarts)
    while True:
        yield status
        if time.monotonic() >= deadline:
            return
        status = _ask(client, status["version"], deadline, restarts)


def _ask(client: Client, after: int | None, deadline: float, restarts: bool) -> Status:
    """The first status that differs from version `after`, or the same again after STEP."""
    while True:
        rest = deadline - time.monotonic()
        try:
            return client.status(after=after, wait=max(0.0, min(STEP, rest)), within=max(ANSWER, rest))
        except Failure as failure:
            if failure.code is not Exit.UNAVAILABLE or not restarts or time.monotonic() >= deadline:
                raise
        time.sleep(RETRY)
        after = None
