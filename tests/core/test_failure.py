"""The failure policy as one function, and what is said of it."""

import pytest

from agent.core import failure
from agent.core.facts import UNKNOWN, Level, Maybe
from agent.core.failure import Failure

AFTER = Failure.CLOSED_AFTER_READY


@pytest.mark.parametrize(
    ("policy", "once", "level"),
    [
        (Failure.OPEN, UNKNOWN, Level.RELEASED),
        (Failure.CLOSED, UNKNOWN, Level.BLOCK),
        (Failure.CLOSED, False, Level.BLOCK),
        (AFTER, UNKNOWN, UNKNOWN),
        (AFTER, False, Level.RELEASED),
        (AFTER, True, Level.BLOCK),
    ],
)
def test_the_level(policy: Failure, once: Maybe[bool], level: Maybe[Level]) -> None:
    assert failure.level(policy, once) is level
    assert failure.level(policy, once, left=True) is Level.RELEASED


def test_it_is_said_what_is_refused_to_whom_and_until_when() -> None:
    assert failure.described(AFTER, failure.to_ports((5432,))) == (
        "while the proxy is not ready, new connections to port 5432 are made without it until this host has been"
        " Ready once, and reset for everybody from then on"
    )
    assert "reset" not in failure.described(Failure.OPEN, "") and "until" not in failure.described(
        Failure.CLOSED, ""
    )
    assert failure.effect(Level.BLOCK, failure.to_ports((80, 443))) == (
        "new connections to ports 80, 443 are reset for everybody, until the proxy is ready"
    )
    assert failure.effect(UNKNOWN, "") == failure.effect(Level.PARTIAL, "") == ""
    assert failure.to_ports(()) == "to every redirected port"
