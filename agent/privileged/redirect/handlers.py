"""The verbs of the redirect. Each raises Refusal; then nothing has changed, or the previous state is restored."""

import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.core.redirect import Inbound, RedirectSpec, levels, ruleset, settle
from agent.core.redirect.timed import Live
from agent.core.redirect.trial import Event, Impossible, Stage, after, agent_may_close, agent_may_turn_on
from agent.privileged import Answer, Refusal
from agent.privileged.redirect import (
    admission,
    departures,
    greetings,
    guide_chains,
    host_rules,
    live_rules,
    records,
    specification,
    transaction,
    trial,
    wanted_levels,
)
from agent.privileged.redirect.host_rules import Exempt
from agent.privileged.redirect.records import Cause, Suspension
from agent.privileged.redirect.transaction import Done
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import files, listeners

_OFF: Levels = (Level.OFF, Level.OFF)


# reading -------------------------------------------------------------------------------------------


def check(prefix: Path) -> Answer:
    live = live_rules.read(prefix)
    return _answer(prefix, live, _live_levels(live_rules.source(prefix, live), live))


# the agent's ---------------------------------------------------------------------------------------
# Its levels are of the configuration in force, not of later edits to the file: what is redirected
# changes when an operator says so. Only the very first configuration is approved by being applied.


def apply(prefix: Path, inbound: Level, outbound: Level) -> Answer:
    """Bring the kernel to these levels, and return what it holds afterwards."""
    with files.lock(prefix):
        return _bring(prefix, live_rules.read(prefix), settle(inbound, outbound))


def arm(prefix: Path) -> Answer:
    """ON, if the proxy is proved ready. A host that has left is unchanged."""
    with files.lock(prefix):
        before = live_rules.read(prefix)
        if records.left(prefix):
            return _answer(prefix, before, _live_levels(live_rules.source(prefix, before), before))
        return _bring(prefix, before, wanted_levels.ready(prefix, live_rules.source(prefix, before)))


def failed(prefix: Path) -> Answer:
    """The failure policy of each direction. On a host that has left, what is off stays off."""
    with host_rules.request(prefix, left_alone=True), files.lock(prefix):
        return _or_by_force(prefix, partial(wanted_levels.failed, prefix), partial(_failed, prefix))


def _failed(prefix: Path) -> Answer:
    before = live_rules.read(prefix)
    if before.rules is None and records.left(prefix):
        return _answer(prefix, before, _OFF)
    return _bring(prefix, before, wanted_levels.failed(prefix, live_rules.source(prefix, before)))


def one_way(prefix: Path, direction: str, level: Level) -> Answer:
    """Bring one direction to this level, and leave the other. Rules are set for both at once, so where those
    of the other are damaged it gets its failure policy."""
    if level is not Level.BLOCK:
        with files.lock(prefix):
            return _one_way(prefix, direction, level)
    with host_rules.request(prefix, left_alone=True), files.lock(prefix):
        act = partial(_one_way, prefix, direction, level)
        return _or_by_force(prefix, partial(_one_blocked, prefix, direction), act)


def _one_way(prefix: Path, direction: str, level: Level) -> Answer:
    before = live_rules.read(prefix)
    if direction == "both":
        return _bring(prefix, before, (level, level))
    source = live_rules.source(prefix, before)
    current, policies = _live_levels(source, before), wanted_levels.failed(prefix, source)
    inbound, outbound = (p if f is Level.PARTIAL else f for f, p in zip(current, policies, strict=True))
    wanted = (level, outbound) if direction == "inbound" else (inbound, level)
    return _bring(prefix, before, settle(*wanted))


def _one_blocked(prefix: Path, direction: str, source: Path) -> Levels:
    inbound, outbound = wanted_levels.failed(prefix, source)
    into, out = direction in ("inbound", "both"), direction in ("outbound", "both")
    return Level.BLOCK if into else inbound, Level.BLOCK if out else outbound


def _bring(prefix: Path, before: Live, wanted: Levels) -> Answer:
    held = records.suspension(prefix)
    source = live_rules.source(prefix, before)
    spec, reached = (_new if source == prefix else _spec)(source, wanted), wanted
    over = before.trial is not None and not before.on_trial
    if levels(spec, before.rules) != wanted or over:
        _permit(held, before, wanted)
        greetings.must_be_opaque(prefix, source, wanted[0])
        put = transaction.carry_on if before.on_trial else transaction.put
        reached = put(prefix, source, spec, before, wanted).levels
    _remember(prefix, spec)
    if reached == wanted:
        greetings.remember(prefix, source, wanted[0])
        _approve_first(prefix, source, spec, wanted)
    return _answer(prefix, before, reached)


def _remember(prefix: Path, spec: RedirectSpec) -> None:
    if spec.inbound is Inbound.ALL:
        host_rules.remember(prefix, Exempt(spec.ssh_ports, spec.published))


def _approve_first(prefix: Path, source: Path, spec: RedirectSpec, wanted: Levels) -> None:
    """The approved configuration; before the first approval, the one of the live rules."""
    if source == prefix and spec is not specification.NOTHING and wanted != _OFF and not records.left(prefix):
        records.approve(prefix, source)


def _permit(held: Suspension | None, before: Live, wanted: Levels) -> None:
    """The agent cannot set suspended rules again, except those on trial while the trial lasts. Closing a port is
    still allowed, but not after an operator removed the rules."""
    stage = records.stage(held, on_trial=before.on_trial)
    if held is None or transaction.lets_go(wanted):
        return
    refused = not agent_may_turn_on(stage) if Level.ON in wanted else not agent_may_close(stage)
    if refused:
        detail = f"cannot redirect: it is suspended ({held.cause.value}: {held.detail})"
        raise Refusal(detail, Reason.REDIRECT_SUSPENDED)


def _or_by_force(prefix: Path, wanted: Callable[[Path], Levels], act: Callable[[], Answer]) -> Answer:
    """An error other than a refusal must not leave a port open that must be closed: the rules of these levels are
    set without lookups and without tests. Raises Refusal."""
    try:
        return act()
    except Refusal:
        raise
    except Exception:
        source = records.approved(prefix)
        reached = settle(*wanted(source))
        held = records.suspension(prefix)
        if transaction.lets_go(reached) or not agent_may_close(records.stage(held, on_trial=False)):
            raise
        traceback.print_exc(file=sys.stderr)
        transaction.for_good(prefix, source, ruleset(specification.outline(source), *reached))
        return _levels(reached)


# at boot -------------------------------------------------------------------------------------------


def restore(prefix: Path) -> Answer:
    """The redirect that was last approved, at the current level; nothing after `leave`."""
    with host_rules.request(prefix, left_alone=True), files.lock(prefix):
        live, held = live_rules.read(prefix), records.suspension(prefix)
        stage = records.stage(held, on_trial=live.on_trial)
        if records.left(prefix) or stage in (Stage.ON_TRIAL, Stage.REMOVED):
            return _levels(_live_levels(live_rules.source(prefix, live), live))
        act = partial(_restored, prefix, live, held)
        return _or_by_force(prefix, partial(wanted_levels.failed, prefix), act)


def _restored(prefix: Path, live: Live, held: Suspension | None) -> Answer:
    source = records.approved(prefix)
    wanted = wanted_levels.failed(prefix, source) if held else _at_boot(prefix, source, live)
    spec = _spec(source, wanted)
    reached = wanted
    if levels(spec, live.rules) != wanted:
        reached = transaction.put(prefix, source, spec, live, wanted).levels
    if reached == wanted:
        _approve_first(prefix, source, spec, wanted)
    return _levels(reached)


def _at_boot(prefix: Path, source: Path, live: Live) -> Levels:
    """Where the proxy's readiness is unknown, live rules stay; missing or damaged ones get their failure
    policy."""
    try:
        return wanted_levels.now(prefix, source)
    except Refusal as refusal:
        if refusal.reason is not Reason.PROXY_UNREADABLE:
            raise
    held = _live_levels(source, live)
    return wanted_levels.failed(prefix, source) if {Level.OFF, Level.PARTIAL} & set(held) else held


# an operator's -------------------------------------------------------------------------------------


def apply_configured(
    prefix: Path, seconds: int | None, session: frozenset[int] = frozenset(), *, force: bool = False
) -> Answer:
    """The present configuration, at the current level. `seconds`: how long it is on trial; None:
    it is kept. `session`: the ports of the operator's session. `force`: also where a server on a declared port
    speaks first.

    An operator has acted: a suspension is lifted.
    """
    with files.lock(prefix):
        departures.loopback_must_be_up()
        wanted = wanted_levels.now(prefix, prefix, session)
        spec = _new(prefix, wanted, session)
        if not force:
            greetings.must_be_opaque(prefix, prefix, wanted[0])
        before = live_rules.read(prefix)
        if seconds is None or (levels(spec, before.rules) == wanted and not before.on_trial):
            return _tested(_keep(prefix, spec, before, wanted))
        reached = transaction.put_on_trial(prefix, spec, before, wanted, seconds)
        _remember(prefix, spec)
        return {**_tested(reached), "trial": seconds}


def _keep(prefix: Path, spec: RedirectSpec, before: Live, wanted: Levels) -> Done:
    reached = transaction.put(prefix, prefix, spec, before, wanted)
    _remember(prefix, spec)
    records.suspend(prefix, None)
    records.approve(prefix, prefix)
    greetings.remember(prefix, prefix, wanted[0])
    return reached


def adopt_guide(prefix: Path, session: frozenset[int] = frozenset()) -> Answer:
    """The configuration in place of the manually created chains of Linkerd's guide. Our rules come first in the
    kernel, so there is no gap."""
    with files.lock(prefix):
        departures.loopback_must_be_up()
        chains = guide_chains.chains()
        wanted = wanted_levels.now(prefix, prefix, session)
        reached = _keep(prefix, _new(prefix, wanted, session), live_rules.read(prefix), wanted)
        guide_chains.remove()
        return {**_tested(reached), "adopted": list(chains)}


def confirm(prefix: Path) -> Answer:
    """Keep what is on trial."""
    with files.lock(prefix):
        live = live_rules.read(prefix)
        _possible(prefix, live, Event.CONFIRM)
        source = records.tried(prefix)
        transaction.for_good(prefix, source, live.rules)
        records.suspend(prefix, None)
        records.approve(prefix, source)
        reached = _live_levels(source, live_rules.read(prefix))
        greetings.remember(prefix, source, reached[0])
        return _levels(reached)


def revert(prefix: Path, *, due: bool = False) -> Answer:
    """Restore what was before the trial at once; the suspension stays. `due`: the request comes from a timer."""
    with files.lock(prefix):
        if due:
            return _levels(_time_is_over(prefix))
        live = live_rules.read(prefix)
        _possible(prefix, live, Event.REVERT)
        assert live.trial is not None
        source = records.approved(prefix)
        transaction.for_good(prefix, source, live.trial.before)
        records.suspend(prefix, Suspension(Cause.REVERTED, "an operator reverted it"))
        return _levels(_live_levels(source, live_rules.read(prefix)))


def _time_is_over(prefix: Path) -> Levels:
    """Also where another program has removed the rules on trial."""
    record, source = trial.record(prefix), records.approved(prefix)
    if record is not None and record.left > 0:
        raise Refusal(f"cannot revert the redirect: {record.left} s are left")
    if record is not None:
        transaction.for_good(prefix, source, record.before)
    return _live_levels(source, live_rules.read(prefix))


def _possible(prefix: Path, live: Live, event: Event) -> None:
    """Raises Refusal where the table of the trial refuses it."""
    stage = records.stage(records.suspension(prefix), on_trial=live.on_trial)
    try:
        after(stage, event)
    except Impossible as impossible:
        reason = Reason.REDIRECT_SUSPENDED if stage is Stage.EXPIRED else None
        raise Refusal(f"cannot {event.value} the redirect: {impossible}", reason) from None


def remove(prefix: Path, *, now: bool) -> Answer:
    """Remove every rule. While the proxy has open streams, RELEASED: tracking stays until they have ended, and the
    request is repeated. A host that did not leave stays without rules until an operator acts."""
    with files.lock(prefix):
        if live_rules.read(prefix).rules is None:
            return _levels(_OFF)
        streams = 0 if now else listeners.streams(specification.NOTHING)
        source = records.approved(prefix)
        transaction.for_good(prefix, source, transaction.released())
        if not streams:
            live_rules.replace(source, None)
        if not records.left(prefix):
            records.suspend(prefix, Suspension(Cause.REMOVED, "an operator removed the rules"))
        answer = _levels(levels(specification.NOTHING, live_rules.read(prefix).rules))
        return {**answer, "streams": streams} if streams else answer


# common --------------------------------------------------------------------------------------------


def _spec(source: Path, wanted: Levels, session: frozenset[int] = frozenset()) -> RedirectSpec:
    return (
        specification.letting_go(source)
        if transaction.lets_go(wanted)
        else specification.approved(source, session)
    )


def _new(prefix: Path, wanted: Levels, session: frozenset[int] = frozenset()) -> RedirectSpec:
    """One that is not in force yet. Later the firewall may change, and a redirect in force is not removed."""
    spec = _spec(prefix, wanted, session)
    if Level.ON in wanted:
        departures.loopback_must_be_up()
        firewall = admission.seen(admission.OUTWARD)
        admission.tracked(firewall, spec)
        if wanted[1] is Level.ON:
            departures.must_pass(firewall, spec)
    return spec


def _live_levels(source: Path, live: Live) -> Levels:
    return levels(specification.spec(source) if live.rules else specification.NOTHING, live.rules)


def _answer(prefix: Path, before: Live, reached: Levels) -> Answer:
    """For the agent, which reports what waits for an operator."""
    edited, held = specification.edited(prefix, live_rules.source(prefix, before)), records.suspension(prefix)
    answer = _levels(reached) | ({"edited": edited} if edited else {})
    if held is not None:
        answer["suspended"] = f"{held.cause.value}: {held.detail}"
    if before.trial is not None and before.on_trial:
        answer["trial"] = before.trial.left
    return answer


def _tested(done: Done) -> Answer:
    return {**_levels(done.levels), **({"tested": done.tested} if done.tested else {})}


def _levels(reached: Levels) -> Answer:
    inbound, outbound = reached
    return {"inbound": inbound.value, "outbound": outbound.value}
