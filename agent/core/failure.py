"""What happens to new connections while the proxy is known not to serve.

Law: every program that applies a failure policy asks here: the agent, the privileged helper, the hooks of the
proxy's unit, and the boot.
"""

import enum
from collections.abc import Collection

from agent.core.facts import UNKNOWN, Level, Maybe


class Failure(enum.StrEnum):
    """A failure policy as it is written."""

    CLOSED = "closed"
    OPEN = "open"
    # Open until this host has been Ready once: the first start closes no open port.
    CLOSED_AFTER_READY = "closed-after-ready"


def level(policy: Failure, ready_once: Maybe[bool], *, left: bool = False) -> Maybe[Level]:
    """UNKNOWN: it depends on an unknown fact, and nothing may change. `left`: the host has left the mesh, and no
    policy applies."""
    if left or policy is Failure.OPEN:
        return Level.RELEASED
    if policy is Failure.CLOSED:
        return Level.BLOCK
    if ready_once is UNKNOWN:
        return UNKNOWN
    return Level.BLOCK if ready_once else Level.RELEASED


# the record ----------------------------------------------------------------------------------------


def record(namespace: str, name: str, identity: str) -> str:
    """The record that this host has been Ready. It is valid only for this member of the mesh."""
    return f"{namespace}/{name} {identity}\n"


# for people ----------------------------------------------------------------------------------------


def described(policy: Failure, what: str) -> str:
    """`what`: the connections, like "to port 5432"."""
    match policy:
        case Failure.OPEN:
            return f"while the proxy is not ready, new connections {what} are made without it"
        case Failure.CLOSED:
            return f"while the proxy is not ready, new connections {what} are reset for everybody"
        case Failure.CLOSED_AFTER_READY:
            return (
                f"while the proxy is not ready, new connections {what} are made without it until this host has"
                " been Ready once, and reset for everybody from then on"
            )


def effect(level: Maybe[Level], what: str) -> str:
    """What a level does now; "" if that is not known."""
    match level:
        case Level.BLOCK:
            return f"new connections {what} are reset for everybody, until the proxy is ready"
        case Level.RELEASED | Level.OFF:
            return f"new connections {what} are made without the proxy"
        case Level.ON:
            return f"new connections {what} go through the proxy"
    return ""


def to_ports(ports: Collection[int]) -> str:
    """None: to every port that is redirected."""
    listed = ", ".join(map(str, sorted(ports)))
    return f"to port{'s' * (len(ports) > 1)} {listed}" if ports else "to every redirected port"
