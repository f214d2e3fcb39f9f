"""What a verb of the redirect answers: levels, and what waits for an operator."""

from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.redirect.timed import Live
from agent.core.slots import Slot
from agent.privileged import Answer
from agent.privileged.redirect import live_rules, records, specification
from agent.privileged.redirect.backends import iptables

if TYPE_CHECKING:  # who reads rules needs nothing of what sets them
    from agent.privileged.redirect.transaction import Done
    from agent.privileged.redirect.wanted_levels import Levels


def full(prefix: Path, before: Live, found: "Levels") -> Answer:
    """For the agent, which reports what waits for an operator."""
    edited, held = specification.edited(prefix, live_rules.source(prefix, before)), records.suspension(prefix)
    answer = levels(found) | ({"edited": edited} if edited else {})
    if (slot := records.active_slot(prefix)) is not Slot.MAIN:
        answer["slot"] = slot.value
    if held is not None:
        answer["suspended"] = f"{held.cause.value}: {held.detail}"
    if before.trial is not None and before.on_trial:
        answer["trial"] = before.trial.left
    if unreported := _unreported(before):
        answer["unreported"] = unreported
    return answer


def _unreported(before: Live) -> str:
    """Which changes the kernel does not report by nftables' group of netlink; "": it reports each."""
    if before.on_trial:
        return "the end of the trial"
    return "the tables of iptables-legacy" if iptables.legacy_in_use() else ""


def tested(done: "Done") -> Answer:
    return {**levels(done.levels), **({"tested": done.tested} if done.tested else {})}


def levels(found: "Levels") -> Answer:
    inbound, outbound = found
    return {"inbound": inbound.value, "outbound": outbound.value}
