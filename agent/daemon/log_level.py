"""The log filter of the running proxies: of each slot that has one."""

from agent.adapters import http_client, proxy_reading
from agent.core import slots
from agent.core.facts import UNKNOWN, Facts
from agent.core.slots import Slot


async def set_or_read(facts: Facts, wanted: str) -> str:
    """Set it in each proxy that runs; "": leave it. Returns that of the one that the redirect names. Raises
    Trouble."""
    if wanted:
        for slot in set(Slot) - {facts.active}:
            proxy = facts.of(slot)
            if proxy is not UNKNOWN and proxy.process is not None:
                await proxy_reading.log_level(wanted, _admin(slot))
    return await proxy_reading.log_level(wanted, _admin(facts.active))


def _admin(slot: Slot) -> http_client.Server:
    return proxy_reading.admin(slots.places()[slot].admin_port)
