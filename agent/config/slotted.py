"""Whether the proxy of a configuration has two slots, and where each listens. Same law as `agent.config`.

Apart from `derived`, for the failure policy loads it.
"""

from agent.config.shape import Config, Network
from agent.core import slots
from agent.core.slots import Place, Slot


def why_one_slot(config: Config) -> str:
    """Why a host of this configuration has one slot; "": it has two."""
    if not config.proxy.slots:
        return "proxy.slots is false"
    versions = frozenset(address.version for address in config.host.addresses)
    redirected = config.redirect.mode != "off"
    return slots.why_not(versions, config.redirect.backend, redirected=redirected)


def place(config: Config, slot: Slot) -> Place | None:
    """Where this slot listens by that configuration; None: the host has one slot."""
    return None if why_one_slot(config) else slots.places(network(config))[slot]


def network(config: Config) -> Network:
    """Of the slots' addresses, where the workload's have one IP version."""
    return config.proxy.slot_network or slots.NETWORKS[config.host.addresses[0].version]
