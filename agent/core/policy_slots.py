"""What the decision says about the two slots of the proxy: which one the redirect names, and whether the standby
runs."""

from agent.core.facts import UNKNOWN, Facts, Maybe, ProxyFact
from agent.core.goals import Goals, ProxyGoal, RedirectGoal
from agent.core.health import Spec
from agent.core.late import replace
from agent.core.reasons import Fault, Reason
from agent.core.replacement import WITHOUT_A_STANDBY, Stage
from agent.core.slots import Slot, named, needed
from agent.core.standings import proved, standing_of


def with_slots(spec: Spec, facts: Facts, goals: Goals, now: float) -> Goals:
    """The goals of a host with one slot, and those of the slots. A standby is started only while the proxy is
    wanted; it stops with main, and until then it is kept while the redirect names it."""
    if not spec.slots or unread(facts) or facts.redirect is UNKNOWN or facts.replacement is UNKNOWN:
        return goals
    change, active = facts.change, facts.redirect.slot
    under_way = change is not None and not change.over
    leaving = under_way and change is not None and change.leaving
    covered = under_way and change is not None and change.covered
    if goals.proxy is ProxyGoal.STOPPED and not covered:  # nothing is served any more
        return replace(goals, standby=ProxyGoal.STOPPED)
    slot = _named(spec, facts, active, now, leaving=leaving)
    goals = replace(goals, standby=_standby(spec, facts, goals, leaving), slot=slot)
    # The levels stay until the redirect names the other: what is decided of this one holds no longer then.
    return goals if slot is active else replace(goals, inbound=RedirectGoal.HOLD, outbound=RedirectGoal.HOLD)


def _named(spec: Spec, facts: Facts, active: Slot, now: float, *, leaving: bool) -> Slot:
    """While the slot that is named serves, the other is proved only once the policy controller has answered it:
    until then outbound connections could not go through it, and the host would not be Ready for a moment."""
    main, standby = proved(facts.proxy, now), proved(facts.standby, now)
    if spec.policy_awaited and main is standby is True:
        if active is Slot.STANDBY and not _answered(facts.proxy):
            main = UNKNOWN
        if active is Slot.MAIN and not _answered(facts.standby):
            standby = UNKNOWN
    return named(active, main, standby, leaving=leaving)


def _answered(proxy: Maybe[ProxyFact]) -> bool:
    return proxy is not UNKNOWN and proxy.control is not None and proxy.control.answered


def unread(facts: Facts) -> bool:
    """The rules are not known, and so neither is the proxy that serves."""
    fact = facts.redirect
    return fact is UNKNOWN or UNKNOWN in (fact.inbound, fact.outbound)


def _standby(spec: Spec, facts: Facts, goals: Goals, leaving: bool) -> ProxyGoal:
    change = facts.change
    if change is not None and change.stage in WITHOUT_A_STANDBY:
        return ProxyGoal.STOPPED if facts.active is Slot.MAIN else ProxyGoal.HOLD
    covering = change is not None and change.covered and not change.over
    if not (covering or facts.active is Slot.STANDBY) and spec.standby and facts.proxy is UNKNOWN:
        return ProxyGoal.HOLD
    kept = spec.standby and not (facts.proxy is not UNKNOWN and facts.proxy.everywhere)
    if needed(facts.active, leaving=leaving or covering, kept=kept):
        wanted = goals.proxy is ProxyGoal.RUNNING or leaving or covering
        return ProxyGoal.RUNNING if wanted else ProxyGoal.HOLD
    return ProxyGoal.STOPPED


def remark(spec: Spec, facts: Facts, now: float) -> Fault | None:
    """A standby is kept, and the proxy that does not serve now could not take over."""
    change = facts.change
    replaced = change is not None and (not change.over or change.stage is Stage.RENEWING)
    if not spec.standby or replaced or facts.standby is UNKNOWN or proved(facts.serving, now) is not True:
        return None
    if facts.proxy is not UNKNOWN and facts.proxy.everywhere:
        why = "the running proxy was started before there were slots: fairlead proxy restart"
        return Fault(Reason.STANDBY_NOT_READY, why)
    other = standing_of(facts.standby if facts.active is Slot.MAIN else facts.proxy, now)
    if isinstance(other, Fault):
        return Fault(Reason.STANDBY_NOT_READY, f"{other.reason.value}: {other.detail or other.entry.text}")
    return _unprepared(facts)


def _unprepared(facts: Facts) -> Fault | None:
    """The program that turns the redirect when main ends uses nothing but what is prepared."""
    if facts.active is not Slot.MAIN or facts.prepared is UNKNOWN or not facts.prepared:
        return None
    why = f"the rules for it are not prepared, and could not be prepared again: {facts.prepared}"
    return Fault(Reason.STANDBY_NOT_READY, why, "fairlead redirect apply")
