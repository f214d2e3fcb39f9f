"""The live rules as the agent asks for them: its most frequent request, which sets nothing and so loads little."""

from pathlib import Path

from agent.core import prepared
from agent.core.facts import Level
from agent.core.slots import Slot
from agent.host import Host
from agent.privileged import Answer, Refusal
from agent.privileged.redirect import answers, live_rules, records
from agent.privileged.system import files


def check(prefix: Path) -> Answer:
    """Raises Refusal. What was prepared for these rules, and no longer holds, is prepared again: after an upgrade
    of fairlead or a change of a user, for example. Without it no standby takes over."""
    found = live_rules.read(prefix)
    held = live_rules.levels(live_rules.source(prefix, found), found)
    if held[0] is Level.ON and not found.on_trial and _is_outdated(prefix):
        from agent.privileged.redirect.prepared import renew  # with all that makes rules, and seldom

        with files.lock(prefix):
            renew(prefix, held)
    return answers.full(prefix, found, held)


def _is_outdated(prefix: Path) -> bool:
    """There is no plan, or a file from which it was made is another one now. While the second slot is named none
    holds, and the one from before holds again afterwards."""
    if records.active_slot(prefix) is not Slot.MAIN:
        return False
    path = Host(prefix).prepared / prepared.PLAN
    if not path.exists():  # it could not be prepared, or another program has removed it
        return True
    try:
        plan = prepared.read(files.read(path))
    except Refusal:  # another user can have written it
        return True
    return plan is None or any(files.identity(Path(one)) != then for one, then in plan.sources.items())
