"""The levels that the host should have now, by root's configuration and the kernel's state.

`prefix`: of root's records. `source`: the prefix of the configuration in force.
"""

from pathlib import Path

from agent.core import control_plane, failure
from agent.core.facts import UNKNOWN, Level
from agent.core.failure import Failure
from agent.core.reason import Reason
from agent.privileged import Refusal
from agent.privileged.proxy import readiness
from agent.privileged.proxy.readiness import Pages
from agent.privileged.redirect import records, specification
from agent.privileged.system import configuration, listeners

Levels = tuple[Level, Level]  # inbound, outbound

LET_GO: Levels = (Level.RELEASED, Level.RELEASED)


def off(prefix: Path) -> bool:
    """The configuration wants no redirect. Raises Refusal."""
    return configuration.read(prefix).redirect.mode == "off"


def ready(prefix: Path, source: Path, pages: Pages) -> Levels:
    """What holds while the proxy is proved ready: outbound ON once the policy controller has answered it, and its
    failure policy before. Raises Refusal: it is not ready, or that is unknown."""
    spec = specification.spec(source)
    answered = readiness.must_hold(spec, pages, specification.controller(source))
    if not listeners.outbound(spec):
        return Level.ON, Level.RELEASED
    outbound = control_plane.outbound(answered, failed(prefix, source)[1])
    if outbound is UNKNOWN:
        raise Refusal("cannot redirect: the proxy's metrics cannot be read completely", Reason.PROXY_UNREADABLE)
    return Level.ON, outbound


def failed(prefix: Path, source: Path) -> Levels:
    """The failure policy of each direction. Raises Refusal."""
    redirect = configuration.read(source).redirect
    if redirect.mode == "off" or records.left(prefix):
        return LET_GO
    outbound = redirect.outbound_failure if specification.goes_out(source) else "open"
    once = records.ready_once(prefix, configuration.member(prefix, source))
    return _failed(redirect.inbound_failure, once), _failed(outbound, once)


def now(prefix: Path, source: Path, pages: Pages, session: frozenset[int] = frozenset()) -> Levels:
    """The one of the two that applies now. `session`: see policy.approved. Raises Refusal: the configuration is
    unusable, or readiness is unknown (PROXY_UNREADABLE)."""
    if off(source):
        return LET_GO
    specification.approved(source, session)
    try:
        return ready(prefix, source, pages)
    except Refusal as refusal:
        if refusal.reason is Reason.PROXY_UNREADABLE:
            raise
        return failed(prefix, source)  # a known fault: the failure policy applies


def _failed(written: str, ready_once: bool) -> Level:
    level = failure.level(Failure(written), ready_once)
    assert level is not UNKNOWN
    return level
