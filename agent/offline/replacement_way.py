"""What decides on this host which way its proxy is replaced (`core.replacement_way`), read without root."""

from pathlib import Path

from agent.adapters import memory, proxy_reading
from agent.config import Config, derived, slotted
from agent.core import slots
from agent.core.proxy import INBOUND_PORT
from agent.core.replacement_way import Seen
from agent.core.slots import Slot
from agent.privileged.redirect import kernel
from agent.privileged.system import loopback


def read(config: Config, prefix: str) -> Seen:
    """Raises OSError, KeyError (there is no user for the proxy)."""
    why = slotted.why_one_slot(config)
    if why:
        return Seen(wanted=config.proxy.slots, one_slot=why)
    uid, _ = derived.proxy_owner(config)
    network = slotted.network(config)
    places = _EVERYWHERE[network.version]
    everywhere = [owner for place, owner in proxy_reading.listeners().items() if place in places]
    strange = [owner for owner in everywhere if owner != uid]
    return Seen(
        wanted=True,
        approved=derived.slot_in_force(config, Path(prefix), Slot.MAIN) is not None,
        nftables=kernel.chosen(config.redirect.backend) == "nftables",
        taken=loopback.used(Path(prefix), network),
        listens=f"a process of uid {strange[0]} listens on every address at {INBOUND_PORT}" if strange else "",
        old=bool(everywhere) and not strange,
        short=slots.room(*memory.left_and_largest_of(uid)),
    )


_EVERYWHERE = {4: {("0.0.0.0", INBOUND_PORT), ("::", INBOUND_PORT)}, 6: {("::", INBOUND_PORT)}}
