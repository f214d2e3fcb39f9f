"""The verbs of the redirect. Each raises Refusal; then nothing has changed, or the previous state is restored."""

import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from agent.core.facts import Level
from agent.core.reason import Reason
from agent.core.redirect import RedirectSpec, levels, ruleset, settle
from agent.core.redirect.timed import Live
from agent.core.redirect.trial import Stage, agent_may_close, agent_may_turn_on
from agent.privileged import Answer, NotSet, Refusal
from agent.privileged.proxy import readiness
from agent.privileged.proxy.readiness import Pages
from agent.privileged.redirect import (
    answers,
    armed,
    greetings,
    level_specs,
    live_rules,
    prepared,
    records,
    request_cache,
    specification,
    transaction,
    wanted_levels,
)
from agent.privileged.redirect.records import Cause, Suspension
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import deadline, files

_OFF: Levels = (Level.OFF, Level.OFF)
_ARMED_LOOK: Final = 0.5  # seconds
_LOOK: Final = 2.5  # seconds for lookups and tests; then a port that must be closed is closed without them


# the agent's ---------------------------------------------------------------------------------------
# Its levels are of the configuration in force, not of later edits to the file: what is redirected
# changes when an operator says so. Only the very first configuration is approved by being applied.


def apply(prefix: Path, inbound: Level, outbound: Level, judged: float | None = None) -> Answer:
    """Bring the kernel to these levels, and return what it holds afterwards. `judged`: when the proxy was read as
    not ready; that says nothing of a process that was proved ready later."""
    wanted = settle(inbound, outbound)
    if judged is not None:
        with files.lock(prefix):
            if (answer := _superseded(prefix, judged)) is not None:
                return answer
    if Level.BLOCK not in wanted:
        asked = _asked(prefix, wanted[0])
        with files.lock(prefix):
            return _bring(prefix, live_rules.read(prefix), wanted, asked)
    with files.lock(prefix):
        act = partial(_bring_read, prefix, wanted)
        return _or_by_force(prefix, partial(_closed, prefix, wanted), act)


def _superseded(prefix: Path, judged: float) -> Answer | None:
    """What holds, where the redirect is ON for such a process; None: it is not, or that cannot be read."""
    try:
        with deadline.part(_ARMED_LOOK):
            if not armed.since(prefix, judged):
                return None
            live = live_rules.read(prefix)
            held = live_rules.levels(live_rules.source(prefix, live), live)
            return {**answers.full(prefix, live, held), "superseded": "yes"} if held[0] is Level.ON else None
    except (Refusal, deadline.PartLate):
        return None


def _bring_read(prefix: Path, wanted: Levels) -> Answer:
    before = live_rules.read(prefix)
    source = live_rules.source(prefix, before)
    if Level.ON in wanted and not level_specs.may_be_on(source):
        wanted = _closed(prefix, wanted, source)
    return _bring(prefix, before, wanted)


def _closed(prefix: Path, wanted: Levels, source: Path) -> Levels:
    """What must be closed, beside a direction that may not be ON."""
    inbound, outbound = (
        policy if level is Level.ON else level
        for level, policy in zip(wanted, wanted_levels.failed(prefix, source), strict=True)
    )
    return inbound, outbound


def arm(prefix: Path) -> Answer:
    """ON, if the proxy is proved ready. A host that has left is unchanged."""
    pages, asked = readiness.ask(records.admin_port(prefix)), _asked(prefix, Level.ON)
    with files.lock(prefix):
        before = live_rules.read(prefix)
        if records.left(prefix):
            return answers.full(prefix, before, live_rules.levels(live_rules.source(prefix, before), before))
        return _bring(prefix, before, wanted_levels.ready(prefix, live_rules.source(prefix, before), pages), asked)


def guard(prefix: Path) -> None:
    """Before the proxy listens: where there are no rules, those that keep it from undeclared ports here."""
    with files.lock(prefix):
        before = live_rules.read(prefix)
        if before.rules is None:
            source = live_rules.source(prefix, before)
            live_rules.replace(source, transaction.released(source))


def _asked(prefix: Path, inbound: Level) -> frozenset[int]:
    """The servers, before the lock is taken: those whose ports are redirected for the first time."""
    if inbound is not Level.ON:
        return frozenset()
    before = live_rules.read(prefix)
    source = live_rules.source(prefix, before)
    if live_rules.levels(source, before)[0] is inbound or records.suspension(prefix) or records.left(prefix):
        return frozenset()
    return greetings.must_be_opaque(prefix, source, inbound)


def failed(prefix: Path) -> Answer:
    """The failure policy of each direction. On a host that has left, what is off stays off."""
    with request_cache.request(prefix, left_alone=True), files.lock(prefix):
        return _or_by_force(prefix, partial(wanted_levels.failed, prefix), partial(_failed, prefix))


def _failed(prefix: Path) -> Answer:
    before = live_rules.read(prefix)
    source = live_rules.source(prefix, before)
    if _is_over(prefix, source, before):
        live_rules.replace(source, None)
        return answers.full(prefix, before, _OFF)
    if before.rules is None and records.left(prefix):
        return answers.full(prefix, before, _OFF)
    return _bring(prefix, before, wanted_levels.failed(prefix, source))


def _is_over(prefix: Path, source: Path, before: Live) -> bool:
    """An operator removed the rules, or this host has left, and what is there guards a proxy that has ended."""
    held = records.suspension(prefix)
    gone = records.left(prefix) or (held is not None and held.cause is Cause.REMOVED)
    let_go = gone and transaction.lets_go(live_rules.levels(source, before))
    return let_go and before.rules is not None and not level_specs.guards(source)


def one_way(prefix: Path, direction: str, level: Level) -> Answer:
    """Bring one direction to this level, and leave the other. Rules are set for both at once, so where those
    of the other are damaged it gets its failure policy."""
    if level is not Level.BLOCK:
        with files.lock(prefix):
            return _one_way(prefix, direction, level)
    with request_cache.request(prefix, left_alone=True), files.lock(prefix):
        act = partial(_one_way, prefix, direction, level)
        return _or_by_force(prefix, partial(_one_blocked, prefix, direction), act)


def _one_way(prefix: Path, direction: str, level: Level) -> Answer:
    before = live_rules.read(prefix)
    if direction == "both":
        return _bring(prefix, before, (level, level))
    source = live_rules.source(prefix, before)
    found, policies = live_rules.levels(source, before), wanted_levels.failed(prefix, source)
    may = level_specs.may_be_on(source) if Level.ON in found else True
    gone = {Level.PARTIAL, *(() if may else (Level.ON,))}
    inbound, outbound = (p if f in gone else f for f, p in zip(found, policies, strict=True))
    wanted = (level, outbound) if direction == "inbound" else (inbound, level)
    return _bring(prefix, before, settle(*wanted))


def _one_blocked(prefix: Path, direction: str, source: Path) -> Levels:
    inbound, outbound = wanted_levels.failed(prefix, source)
    into, out = direction in ("inbound", "both"), direction in ("outbound", "both")
    return Level.BLOCK if into else inbound, Level.BLOCK if out else outbound


def _bring(prefix: Path, before: Live, wanted: Levels, asked: frozenset[int] = frozenset()) -> Answer:
    held = records.suspension(prefix)
    source = live_rules.source(prefix, before)
    if wanted == _OFF and level_specs.guards(source):
        wanted = wanted_levels.LET_GO
    try:
        spec, found = (level_specs.new if source == prefix else level_specs.of)(source, wanted), wanted
    except Refusal as refusal:
        _not_to_a_stranger(prefix, source, before, refusal)
        raise
    over = before.trial is not None and not before.on_trial
    if levels(spec, before.rules) != wanted or over:
        _permit(held, before, wanted)
        if not before.on_trial and levels(spec, before.rules)[0] is not wanted[0]:
            greetings.must_be_asked(prefix, source, wanted[0], asked)
        put = transaction.carry_on if before.on_trial else transaction.put
        found = put(prefix, source, spec, before, wanted).levels
    level_specs.remember(prefix, spec)
    if found == wanted:
        greetings.remember(prefix, source, wanted[0])
        _approve_first(prefix, source, spec, wanted)
        if wanted[0] is Level.ON and not before.on_trial:
            prepared.renew(prefix, wanted)
    return answers.full(prefix, before, found)


def _not_to_a_stranger(prefix: Path, source: Path, before: Live, refusal: Refusal) -> None:
    """A direction that is ON gets its failure policy, where the listener is no longer the proxy's."""
    foreign = refusal.reason is Reason.PROXY_LISTENER_FOREIGN
    if foreign and before.rules is not None and Level.ON in live_rules.levels(source, before):
        transaction.for_good(prefix, source, transaction.never_to_a_stranger(prefix, source, before.rules))


def _approve_first(prefix: Path, source: Path, spec: RedirectSpec, wanted: Levels) -> None:
    """The approved configuration; before the first approval, the one of the live rules."""
    if source != prefix or spec is specification.NOTHING or wanted == _OFF or records.left(prefix):
        return
    if not transaction.lets_go(wanted) or wanted_levels.off(source):
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
    """No error, no refusal and no slow lookup must leave a port open that must be closed: the rules of these
    levels are set without lookups and without tests. Raises Refusal."""
    try:
        with deadline.part(_LOOK):
            return act()
    except Exception as error:
        source = records.approved(prefix)
        reached = settle(*wanted(source))
        held = records.suspension(prefix)
        final = isinstance(error, NotSet) or getattr(error, "reason", None) is Reason.REDIRECT_SUSPENDED
        final = final or wanted_levels.off(source)
        if final or transaction.lets_go(reached) or not agent_may_close(records.stage(held, on_trial=False)):
            raise
        if not isinstance(error, Refusal | deadline.PartLate):
            traceback.print_exc(file=sys.stderr)
        transaction.for_good(prefix, source, ruleset(specification.outline(source), *reached))
        cause = f"its lookups took more than {_LOOK:g} s" if isinstance(error, deadline.PartLate) else str(error)
        return {**answers.levels(reached), "untested": cause}


# at boot -------------------------------------------------------------------------------------------


def restore(prefix: Path) -> Answer:
    """The redirect that was last approved, at the current level; nothing after `leave`."""
    pages = readiness.ask(records.admin_port(prefix))
    with request_cache.request(prefix, left_alone=True), files.lock(prefix):
        live, held = live_rules.read(prefix), records.suspension(prefix)
        stage = records.stage(held, on_trial=live.on_trial)
        if records.left(prefix) or stage in (Stage.ON_TRIAL, Stage.REMOVED):
            return answers.levels(live_rules.levels(live_rules.source(prefix, live), live))
        act = partial(_restored, prefix, live, held, pages)
        return _or_by_force(prefix, partial(wanted_levels.failed, prefix), act)


def _restored(prefix: Path, live: Live, held: Suspension | None, pages: Pages) -> Answer:
    source = records.approved(prefix)
    wanted = wanted_levels.failed(prefix, source) if held else _at_boot(prefix, source, live, pages)
    spec = level_specs.of(source, wanted)
    reached = wanted
    if levels(spec, live.rules) != wanted:
        reached = transaction.put(prefix, source, spec, live, wanted).levels
    if reached == wanted:
        _approve_first(prefix, source, spec, wanted)
    return answers.levels(reached)


def _at_boot(prefix: Path, source: Path, live: Live, pages: Pages) -> Levels:
    """Where the proxy's readiness is unknown, live rules stay; missing or damaged ones get their failure policy,
    and so does what may not be redirected now."""
    try:
        return wanted_levels.now(prefix, source, pages)
    except Refusal as refusal:
        if refusal.reason is not Reason.PROXY_UNREADABLE:
            return wanted_levels.failed(prefix, source)
    held = live_rules.levels(source, live)
    return wanted_levels.failed(prefix, source) if {Level.OFF, Level.PARTIAL} & set(held) else held
