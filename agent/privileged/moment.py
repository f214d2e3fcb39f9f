"""The levels that the host should have at this moment, by root's configuration and what the kernel shows."""

from pathlib import Path

from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.privileged import Refusal, listeners, policy, readiness

Levels = tuple[Level, Level]  # inbound, outbound

LET_GO: Levels = (Level.RELEASED, Level.RELEASED)


def off(prefix: Path) -> bool:
    """The configuration wants no redirect. Raises Refusal."""
    return policy.configuration(prefix).redirect.mode == "off"


def ready(prefix: Path) -> Levels:
    """What holds while the proxy is proved ready. Raises Refusal: it is not, or that cannot be told."""
    spec = policy.spec(prefix)
    readiness.must_hold(spec)
    return Level.ON, Level.ON if listeners.outbound(spec) else Level.RELEASED


def failed(prefix: Path) -> Levels:
    """The failure policy of each direction. Raises Refusal."""
    redirect = policy.configuration(prefix).redirect
    if redirect.mode == "off":
        return LET_GO
    outbound = redirect.outbound_failure if listeners.outbound(policy.spec(prefix)) else "open"
    return _failed(redirect.inbound_failure), _failed(outbound)


def now(prefix: Path) -> Levels:
    """Whichever of the two it is. Raises Refusal: the configuration is unusable, or nobody can tell
    (PROXY_UNREADABLE)."""
    if off(prefix):
        return LET_GO
    policy.approved(prefix)
    try:
        return ready(prefix)
    except Refusal as refusal:
        if refusal.reason is Reason.PROXY_UNREADABLE:
            raise
        return failed(prefix)  # a known fault: that is what the failure policy is for


def _failed(policy: str) -> Level:
    return Level.BLOCK if policy == "closed" else Level.RELEASED
