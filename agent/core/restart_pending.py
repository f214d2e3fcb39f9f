"""Whether the running proxy has the environment of the next start: it reads its environment once."""

from collections.abc import Iterator, Mapping

from agent.core import anchors
from agent.core.facts import UNKNOWN, Facts, ProxyState, StartedWith
from agent.core.health import Spec
from agent.core.policy_identity import svid_usable
from agent.core.reasons import Fault, Reason

ANCHORS = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
# The filter can be set while it runs, so its value at the start does not count.
_LIVE = frozenset({ANCHORS, "LINKERD2_PROXY_LOG"})


def differing(running: Mapping[str, str | None], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The variables in which they differ, without those that are compared elsewhere. Of other variables, only
    the proxy's count."""
    own = {name: value for name, value in running.items() if name.startswith("LINKERD2_PROXY_") or name in wanted}
    names = (own.keys() | wanted.keys()) - _LIVE
    return tuple(sorted(name for name in names if own.get(name) != wanted.get(name)))


def every(running: Mapping[str, str | None], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The same, and the trust anchors if they are other certificates."""
    others = (ANCHORS,) if digest(running) != digest(wanted) else ()
    return tuple(sorted((*differing(running, wanted), *others)))


def digest(running: Mapping[str, str | None]) -> str:
    """Of its trust anchors; "" where there are none."""
    try:
        return anchors.digest(anchors.certificates(running.get(ANCHORS) or ""))
    except ValueError:
        return ""


def remarks(facts: Facts) -> Iterator[Fault]:
    started = _of_this_process(facts)
    if started is None:
        return
    if started.differing:
        yield Fault(Reason.RESTART_PENDING, ", ".join(started.differing))
    if _has_others(started, facts):
        yield _pending(started)


def _pending(started: StartedWith) -> Fault:
    has, refused = f"it has {started.anchors[:12]}", started.refused
    if refused is None:
        return Fault(Reason.TRUST_ANCHORS_PENDING, has)
    return Fault(Reason.TRUST_ANCHORS_PENDING, f"{has}; not restarted: {refused.detail}", refused.way_out)


def restart_at(spec: Spec, facts: Facts, now: float) -> float | None:
    """When the proxy should be restarted for new trust anchors, on the facts' clock; None: not now. Only if the
    next start would work: the proxy must serve, and the current SVID be valid under them."""
    started, anchored = _of_this_process(facts), facts.anchors
    if started is None or anchored is UNKNOWN or not _has_others(started, facts):
        return None
    if facts.proxy is UNKNOWN or facts.proxy.state is not ProxyState.READY:
        return None
    if anchored.untrusted or not svid_usable(spec, facts, now):
        return None
    return anchored.restart_at


def _of_this_process(facts: Facts) -> StartedWith | None:
    started, proxy = facts.started_with, facts.proxy
    if started is UNKNOWN or proxy is UNKNOWN:
        return None
    return started if proxy.process == started.process else None


def _has_others(started: StartedWith, facts: Facts) -> bool:
    there = "" if facts.anchors is UNKNOWN else facts.anchors.in_force
    return bool(there and started.anchors and there != started.anchors)
