"""Rules are set so that a host is never cut off: one transaction, read back, tested; or what was before.

Law: whoever calls holds `files.lock`. What fails the test leaves a suspension, until an operator acts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.core.redirect import RedirectSpec, Ruleset, levels, ruleset
from agent.core.redirect.timed import Live
from agent.privileged import Refusal, live, selftest, sshd, state, surroundings
from agent.privileged.moment import Levels
from agent.privileged.state import Cause, Suspension

# Letting go needs no policy, so it works where the configuration is broken: these rules are the same for all.
NOTHING: Final = RedirectSpec(proxy_uid=65534)
_OFF: Final = (Level.OFF, Level.OFF)
_LET_GO: Final = frozenset({Level.OFF, Level.RELEASED})


def lets_go(wanted: Levels) -> bool:
    return set(wanted) <= _LET_GO


def put(prefix: Path, spec: RedirectSpec, before: Live, wanted: Levels) -> Levels:
    """Bring the kernel to these levels; what it holds afterwards. Raises Refusal."""
    if wanted == _OFF:
        live.replace(prefix, released())
    live.replace(prefix, ruleset(spec, *wanted))
    after = live.read(prefix).rules
    _or_back(prefix, spec, before, after, wanted)
    return levels(spec, after)


def put_on_trial(prefix: Path, spec: RedirectSpec, before: Live, wanted: Levels, seconds: int) -> Levels:
    """The same for so long. The suspension is on the disk first, so that it outlives whatever comes."""
    held = state.suspension(prefix)
    state.suspend(prefix, Suspension(Cause.UNCONFIRMED, f"on trial for {seconds} s, and not confirmed"))
    new = ruleset(spec, *wanted)
    assert new is not None
    try:
        live.put_on_trial(prefix, new, _before(before), seconds)
    except Refusal:
        state.suspend(prefix, held)
        raise
    after = live.read(prefix).rules
    _or_back(prefix, spec, before, after, wanted)
    return levels(spec, after)


def released() -> Ruleset:
    found = ruleset(NOTHING, Level.RELEASED, Level.RELEASED)
    assert found is not None
    return found


def _before(found: Live) -> Ruleset:
    """What comes back. Where nothing was, RELEASED: a stream that was caught meanwhile still needs tracking.
    Rules that somebody changed by hand are not all understood, and half a rule may catch more than a whole one."""
    rules = found.rules
    if rules is None or rules.foreign:
        return released()
    strange = any(rule.match.foreign for chain in rules.chains for rule in chain.rules)
    return released() if strange else rules


def _or_back(prefix: Path, spec: RedirectSpec, before: Live, after: Ruleset | None, wanted: Levels) -> None:
    if lets_go(wanted):
        return
    problems = list(_problems(spec, after, wanted))
    if not problems:
        return
    live.replace(prefix, _before(before))
    detail = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if problems[3:] else "")
    state.suspend(prefix, Suspension(Cause.SELF_TEST, detail))
    raise Refusal(f"cannot keep the redirect, its self-test failed: {detail}", Reason.REDIRECT_SUSPENDED)


def _problems(spec: RedirectSpec, after: Ruleset | None, wanted: Levels) -> Iterator[str]:
    """Rules that somebody else has changed meanwhile may miss what they are for: that is drift, and mended
    elsewhere. Harm is harm."""
    around = selftest.Around(sshd.ports(), surroundings.resolvers(), surroundings.gateways())
    yield from selftest.harms(spec, after, around)
    if levels(spec, after) == wanted:
        yield from selftest.misses(spec, after, *wanted)
