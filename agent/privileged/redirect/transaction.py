"""Sets rules so that a host is never cut off: one transaction, read back and tested, or reverted.

Law: the caller holds `files.lock`. A failed test leaves a suspension until an operator acts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.core.facts import Level
from agent.core.late import dataclass, replace
from agent.core.reason import Reason
from agent.core.redirect import Action, RedirectSpec, Ruleset, levels, ruleset, selftest
from agent.core.redirect.timed import Live
from agent.privileged import Refusal
from agent.privileged.redirect import (
    live_rules,
    packets,
    records,
    resolvers_gateways,
    specification,
    trial,
    wanted_levels,
)
from agent.privileged.redirect.packets import Findings, Packets
from agent.privileged.redirect.records import Cause, Suspension
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import listeners, sshd

_OFF: Final = (Level.OFF, Level.OFF)
_LET_GO: Final = frozenset({Level.OFF, Level.RELEASED})


def lets_go(wanted: Levels) -> bool:
    return set(wanted) <= _LET_GO


@dataclass(frozen=True)
class Done:
    """What the kernel holds, and how that was tested; "": RELEASED needs no test."""

    levels: Levels
    tested: str = ""


def put(prefix: Path, source: Path, spec: RedirectSpec, before: Live, wanted: Levels) -> Done:
    """Bring the kernel to these levels. `source`: the prefix of the configuration of `spec`.
    Raises Refusal."""
    if lets_go(wanted):
        if wanted == _OFF:
            live_rules.replace(source, released(source))
        for_good(prefix, source, ruleset(spec, *wanted))
        return Done(levels(spec, live_rules.by(source).rules))
    ssh = sshd.ports()
    with packets.opened(spec, ssh) as dialled:
        for_good(prefix, source, ruleset(spec, *wanted))
        return _or_back(prefix, source, spec, before, wanted, dialled, ssh)


def put_on_trial(prefix: Path, spec: RedirectSpec, before: Live, wanted: Levels, seconds: int) -> Done:
    """The same of PREFIX's configuration, for so long. The suspension is on disk first, so that it survives a
    crash."""
    held = records.suspension(prefix)
    records.suspend(prefix, Suspension(Cause.UNCONFIRMED, f"on trial for {seconds} s, and not confirmed"))
    new = ruleset(spec, *wanted)
    assert new is not None
    ssh = sshd.ports()
    with packets.opened(spec, ssh) as dialled:
        source = records.put_on_trial(prefix)
        try:
            live_rules.put_on_trial(prefix, new, _previous(prefix, before), seconds)
        except Refusal:
            records.suspend(prefix, held)
            trial.end(prefix)
            raise
        return _or_back(prefix, source, spec, before, wanted, dialled, ssh)


def carry_on(prefix: Path, source: Path, spec: RedirectSpec, before: Live, wanted: Levels) -> Done:
    """The same of what is on trial: a proxy that ends does not end the trial, for then nothing would be reverted.
    Raises Refusal."""
    new = ruleset(spec, *wanted)
    if new is None:
        return put(prefix, source, spec, before, wanted)
    then = _approved_at(prefix, wanted, spec) or _previous(prefix, before)
    if lets_go(wanted):
        live_rules.carry_on(prefix, before, new, then)
        return Done(levels(spec, live_rules.by(source).rules))
    ssh = sshd.ports()
    with packets.opened(spec, ssh) as dialled:
        live_rules.carry_on(prefix, before, new, then)
        return _or_back(prefix, source, spec, before, wanted, dialled, ssh)


def _approved_at(prefix: Path, wanted: Levels, trying: RedirectSpec) -> Ruleset | None:
    """What was approved, at the current level and with the slot of what is tried; None: nothing was, or it cannot
    be set now."""
    source = records.approved(prefix)
    if source == prefix:
        return None
    try:
        then = wanted_levels.failed(prefix, source) if Level.BLOCK in wanted else wanted
        spec = specification.of_levels(source, then)
        if spec.private is not None and spec.private == trying.private:
            spec = replace(spec, inbound_at=trying.inbound_at, outbound_listener=trying.outbound_listener)
        return ruleset(spec, *then)
    except Refusal:
        return None


def for_good(prefix: Path, source: Path, rules: Ruleset | None) -> None:
    """Set these permanently; a trial ends. Raises Refusal."""
    live_rules.replace(source, rules)
    trial.end(prefix)


def released(source: Path) -> Ruleset:
    found = ruleset(specification.letting_go(source), Level.RELEASED, Level.RELEASED)
    assert found is not None
    return found


def _previous(prefix: Path, found: Live) -> Ruleset:
    """What is restored: never rules on trial. Where there were none, RELEASED: a stream that was redirected since
    then still needs tracking. Manually changed rules are not all understood, and an incomplete rule may match more
    than the complete one."""
    source = records.approved(prefix)
    rules = found.trial.before if found.trial is not None else found.rules
    if rules is None or rules.foreign:
        return released(source)
    strange = any(rule.match.foreign for chain in rules.chains for rule in chain.rules)
    return released(source) if strange else never_to_a_stranger(prefix, source, rules)


def never_to_a_stranger(prefix: Path, source: Path, rules: Ruleset) -> Ruleset:
    """The failure policy in place of rules from before that redirect, where the listener is not the proxy's now.
    `source`: the prefix of their configuration. Raises Refusal."""
    if not any(rule.action is Action.REDIRECT for chain in rules.chains for rule in chain.rules):
        return rules
    try:
        listeners.must_be_the_proxys(specification.spec(source))
    except Refusal:
        then = wanted_levels.failed(prefix, source)
        return ruleset(specification.of_levels(source, then), *then) or released(source)
    return rules


def _or_back(
    prefix: Path,
    source: Path,
    spec: RedirectSpec,
    before: Live,
    wanted: Levels,
    dialled: Packets | Findings,
    ssh: frozenset[int],
) -> Done:
    try:
        after = live_rules.by(source).rules
        harms = list(_harms(spec, after, ssh))
        tested = dialled.findings(wanted[0]) if isinstance(dialled, Packets) else dialled
    except Exception:  # untested rules redirect nothing; closed ports stay closed
        if Level.ON in wanted:
            for_good(prefix, records.approved(prefix), _previous(prefix, before))
        raise
    found = levels(spec, after)
    if tested.stranger is not None and Level.ON in wanted:
        for_good(prefix, records.approved(prefix), _previous(prefix, before))
        raise listeners.foreign(spec, tested.stranger, "gets what is redirected")
    # Rules that another program has changed since may do too little or too much: that is drift, and repaired
    # elsewhere. Harm that the tracer finds counts.
    harms += tested.harms if found == wanted else ()
    misses = [*selftest.misses(spec, after, *wanted), *tested.misses] if found == wanted else []
    problems = [*harms, *misses]
    if not problems:
        return Done(found, tested.said)
    if Level.ON not in wanted and not harms:  # what closes too little still closes more than the rules from before
        raise Refusal(f"cannot close every port: {'; '.join(misses[:3])}")
    for_good(prefix, records.approved(prefix), _previous(prefix, before))
    detail = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if problems[3:] else "")
    records.suspend(prefix, Suspension(Cause.SELF_TEST, detail))
    raise Refusal(f"cannot keep the redirect, its self-test failed: {detail}", Reason.REDIRECT_SUSPENDED)


def _harms(spec: RedirectSpec, after: Ruleset | None, ssh: frozenset[int]) -> Iterator[str]:
    around = selftest.Around(ssh, resolvers_gateways.resolvers(), resolvers_gateways.gateways())
    return selftest.harms(spec, after, around)
