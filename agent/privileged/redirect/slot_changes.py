"""What an edited configuration of the proxy's slots must not break.

Law: rules that lead to a slot reach a proxy that listens at every address too, and no other rules reach one that
listens at a slot alone. So slots are approved before the proxy restarts into them, and given up after it has
restarted out of them.
"""

from pathlib import Path

from agent.config import slotted
from agent.core.proxy import INBOUND_PORT
from agent.core.reason import Reason
from agent.core.slots import Place, Slot
from agent.privileged import Refusal
from agent.privileged.redirect import records
from agent.privileged.system import configuration, files, listeners

_REMEDY = "fairlead reload --restart-proxy, and once the host is Ready again: fairlead redirect apply"


def begin(prefix: Path) -> None:
    """Before the present configuration is applied. Raises Refusal: the rules would lead past a proxy that runs."""
    before = _places(records.approved(prefix))
    if before == _places(prefix):
        return
    found = listeners.owners()
    for place in before:
        if (str(place.address), INBOUND_PORT) in found:
            detail = (
                f"cannot apply the redirect: a proxy listens at {place.address} alone; no new rule leads there"
            )
            raise Refusal(detail, Reason.REDIRECT_REFUSED, _REMEDY)
    with files.lock(prefix):
        records.name_slot(prefix, Slot.MAIN)


def _places(source: Path) -> list[Place]:
    config = configuration.read(source)
    return [place for slot in Slot if (place := slotted.place(config, slot)) is not None]
