"""The turn of the redirect from one slot of the proxy to the other: new connections go to the other one, and open
ones stay where they are.

Law: only to a slot whose proxy is proved ready, by the same transaction and tests as every other change of rules;
if they fail, the rules name the slot from before. The record follows the rules: if this program ends between them,
the next look finds rules of another slot than the recorded one, and sets those of the recorded one, which still
serves.
"""

from pathlib import Path

from agent.config import slotted
from agent.core.facts import Level
from agent.core.reason import Reason
from agent.core.slots import Place, Slot, places
from agent.privileged import Answer, Refusal
from agent.privileged.proxy import readiness
from agent.privileged.redirect import answers, live_rules, prepared, records, specification, transaction
from agent.privileged.redirect.wanted_levels import LET_GO
from agent.privileged.system import configuration, files


def turn(prefix: Path, name: str) -> Answer:
    """`name`: of the slot. Raises Refusal; then the redirect names the slot from before."""
    slot = Slot(name)
    pages = readiness.ask(places()[slot].admin_port)
    with files.lock(prefix):
        before = live_rules.read(prefix)
        source = live_rules.source(prefix, before)
        place, held = _place(source, slot), live_rules.levels(source, before)
        if records.active_slot(prefix) is slot:
            return answers.full(prefix, before, held)
        if Level.PARTIAL in held:
            raise Refusal("cannot turn the redirect: its rules were changed", Reason.REDIRECT_FAILED)
        wanted = LET_GO if Level.OFF in held else held
        spec = specification.named(specification.of_levels(source, wanted), place)
        readiness.must_hold(spec, pages)
        put = transaction.carry_on if before.on_trial else transaction.put
        found = put(prefix, source, spec, before, wanted).levels
        if found != wanted:
            raise Refusal("cannot turn the redirect: another program changed its rules", Reason.REDIRECT_FAILED)
        records.name_slot(prefix, slot)
        if wanted[0] is Level.ON and not before.on_trial:
            prepared.renew(prefix, wanted)
        return answers.full(prefix, before, found)


def give_up(prefix: Path) -> None:
    """No proxy of the standby is left: main is the slot that is named from the next change of rules on."""
    with files.lock(prefix):
        records.name_slot(prefix, Slot.MAIN)


def _place(source: Path, slot: Slot) -> Place:
    """Raises Refusal: this host has one slot."""
    config = configuration.read(source)
    if (place := slotted.place(config, slot)) is None:
        raise Refusal(f"cannot turn the redirect: {slotted.why_one_slot(config)}", Reason.REDIRECT_REFUSED)
    return place
