"""The verbs of the redirect that an operator asks for, as root. Each raises Refusal; then nothing has changed, or
the previous state is restored."""

from pathlib import Path

from agent.core.facts import Level
from agent.core.reason import Reason
from agent.core.redirect import RedirectSpec, levels
from agent.core.redirect.timed import Live
from agent.core.redirect.trial import Event, Impossible, Stage, after
from agent.privileged import Answer, Refusal
from agent.privileged.proxy import readiness
from agent.privileged.proxy.readiness import Pages
from agent.privileged.redirect import (
    answers,
    departures,
    greetings,
    guide_chains,
    level_specs,
    live_rules,
    prepared,
    records,
    slot_changes,
    specification,
    transaction,
    trial,
    wanted_levels,
)
from agent.privileged.redirect.records import Cause, Suspension
from agent.privileged.redirect.transaction import Done
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import files, listeners

_OFF: Levels = (Level.OFF, Level.OFF)


def apply_configured(
    prefix: Path, seconds: int | None, session: frozenset[int] = frozenset(), *, force: bool = False
) -> Answer:
    """The present configuration, at the current level. `seconds`: how long it is on trial; None:
    it is kept. `session`: the ports of the operator's session. `force`: also where a server on a declared port
    speaks first.

    An operator has acted: a suspension is lifted.
    """
    departures.loopback_must_be_up()
    slot_changes.begin(prefix)
    pages = readiness.ask(records.admin_port(prefix))
    asked = frozenset() if force else greetings.must_be_opaque(prefix, prefix, _now(prefix, pages, session)[0])
    with files.lock(prefix):
        wanted = _now(prefix, pages, session)
        spec = level_specs.new(prefix, wanted, session)
        if not force:
            greetings.must_be_asked(prefix, prefix, wanted[0], asked)
        before = live_rules.read(prefix)
        if seconds is None or (levels(spec, before.rules) == wanted and not before.on_trial):
            return answers.tested(_keep(prefix, spec, before, wanted))
        found = transaction.put_on_trial(prefix, spec, before, wanted, seconds)
        level_specs.remember(prefix, spec)
        return {**answers.tested(found), "trial": seconds}


def _now(prefix: Path, pages: Pages, session: frozenset[int]) -> Levels:
    return wanted_levels.now(prefix, prefix, pages, session)


def _keep(prefix: Path, spec: RedirectSpec, before: Live, wanted: Levels) -> Done:
    found = transaction.put(prefix, prefix, spec, before, wanted)
    level_specs.remember(prefix, spec)
    records.suspend(prefix, None)
    records.approve(prefix, prefix)
    greetings.remember(prefix, prefix, wanted[0])
    if found.levels == wanted:
        prepared.renew(prefix, wanted)
    return found


def adopt_guide(prefix: Path, session: frozenset[int] = frozenset()) -> Answer:
    """The configuration in place of the manually created chains of Linkerd's guide. Our rules come first in the
    kernel, so there is no gap."""
    departures.loopback_must_be_up()
    slot_changes.begin(prefix)
    pages = readiness.ask(records.admin_port(prefix))
    with files.lock(prefix):
        chains = guide_chains.chains()
        wanted = _now(prefix, pages, session)
        found = _keep(prefix, level_specs.new(prefix, wanted, session), live_rules.read(prefix), wanted)
        guide_chains.remove()
        return {**answers.tested(found), "adopted": list(chains)}


def confirm(prefix: Path) -> Answer:
    """Keep what is on trial."""
    with files.lock(prefix):
        found = live_rules.read(prefix)
        _possible(prefix, found, Event.CONFIRM)
        source = records.tried(prefix)
        if Level.ON in live_rules.levels(source, found):
            listeners.must_be_the_proxys(specification.spec(source))
        transaction.for_good(prefix, source, found.rules)
        records.suspend(prefix, None)
        records.approve(prefix, source)
        reached = live_rules.levels(source, live_rules.read(prefix))
        greetings.remember(prefix, source, reached[0])
        prepared.renew(prefix, reached)
        return answers.levels(reached)


def revert(prefix: Path, *, due: bool = False) -> Answer:
    """Restore what was before the trial at once; the suspension stays. `due`: the request comes from a timer."""
    with files.lock(prefix):
        if due:
            return answers.levels(_time_is_over(prefix))
        found = live_rules.read(prefix)
        _possible(prefix, found, Event.REVERT)
        assert found.trial is not None
        source = records.approved(prefix)
        then = transaction.never_to_a_stranger(prefix, source, found.trial.before)
        transaction.for_good(prefix, source, then)
        records.suspend(prefix, Suspension(Cause.REVERTED, "an operator reverted it"))
        return answers.levels(live_rules.levels(source, live_rules.read(prefix)))


def _time_is_over(prefix: Path) -> Levels:
    """Also where another program has removed the rules on trial."""
    found, source = trial.record(prefix), records.approved(prefix)
    if found is not None and found.left > 0:
        raise Refusal(f"cannot revert the redirect: {found.left} s are left")
    if found is not None:
        transaction.for_good(prefix, source, transaction.never_to_a_stranger(prefix, source, found.before))
    return live_rules.levels(source, live_rules.read(prefix))


def _possible(prefix: Path, found: Live, event: Event) -> None:
    """Raises Refusal where the table of the trial refuses it."""
    stage = records.stage(records.suspension(prefix), on_trial=found.on_trial)
    try:
        after(stage, event)
    except Impossible as impossible:
        reason = Reason.REDIRECT_SUSPENDED if stage is Stage.EXPIRED else None
        raise Refusal(f"cannot {event.value} the redirect: {impossible}", reason) from None


def remove(prefix: Path, *, now: bool) -> Answer:
    """Remove every rule. While the proxy has open streams, RELEASED: tracking stays until they have ended, and the
    request is repeated. While the proxy runs, its guard stays, and goes when the proxy ends. A host that did not
    leave stays without rules until an operator acts."""
    with files.lock(prefix):
        if live_rules.read(prefix).rules is None:
            return answers.levels(_OFF)
        streams = 0 if now else listeners.streams(specification.NOTHING)
        source = records.approved(prefix)
        transaction.for_good(prefix, source, transaction.released(source))
        guards = level_specs.guards(source)
        if not streams and not guards:
            live_rules.replace(source, None)
        if not records.left(prefix):
            records.suspend(prefix, Suspension(Cause.REMOVED, "an operator removed the rules"))
        answer = answers.levels(levels(specification.letting_go(source), live_rules.read(prefix).rules))
        return {**answer, **({"streams": streams} if streams else {}), **({"guards": "yes"} if guards else {})}
