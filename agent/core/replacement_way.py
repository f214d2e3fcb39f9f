"""Which way the proxy of a host is replaced, and why: without a drain, by a second slot, or after one. For `plan`
and doctor; the agent asks the same of the running proxy when a replacement begins."""

from typing import Final

from agent.core.late import dataclass

DRAINED: Final = "the proxy is replaced after a drain of this host"
COVERED: Final = "the proxy is replaced without a drain: a second slot serves in the meantime"


OF: Final = "of 169.254.0.0/16, or for IPv6 of fd00::/8,"


@dataclass(frozen=True)
class Seen:
    """`one_slot`: why the configuration has one; "": it has two. `approved`: the redirect in force has two.
    `taken`: an address of the slots' network that this host uses otherwise. `listens`: who has 4143 at every
    address, which leaves none to a slot. `old`: the running proxy was started before there were slots. `short`: of
    memory."""

    wanted: bool
    one_slot: str = ""
    approved: bool = True
    nftables: bool = True
    taken: str = ""
    listens: str = ""
    old: bool = False
    short: str = ""


@dataclass(frozen=True)
class Obstacle:
    """`fix`: "" where it is as configured."""

    why: str
    fix: str = ""


def obstacle(seen: Seen) -> Obstacle | None:
    """The first that an operator has to remove; None: nothing is drained."""
    if not seen.wanted:
        return Obstacle(seen.one_slot)
    if seen.one_slot:
        return Obstacle(seen.one_slot, "correct that, or remove proxy.slots")
    if not seen.nftables:
        why = "there is no nft on this host, and only rules of nftables name a slot"
        return Obstacle(why, "install nftables, or remove proxy.slots")
    if seen.taken:
        fix = f"set proxy.slot_network to a network {OF} that is free; then: fairlead redirect apply"
        return Obstacle(f"the slots' network is in use: {seen.taken}", fix)
    if seen.listens:
        fix = "have it listen on the addresses that it needs, or on another port"
        return Obstacle(f"{seen.listens}, which leaves no address to a slot", fix)
    return _for_now(seen)


def _for_now(seen: Seen) -> Obstacle | None:
    if not seen.approved:
        return Obstacle("the redirect of this configuration is not approved yet", "fairlead redirect apply")
    if seen.old:
        fix = "fairlead reload --restart-proxy: this one time it drains the host"
        return Obstacle("the running proxy was started before there were slots", fix)
    return Obstacle(seen.short, "free memory on this host") if seen.short else None


def words(found: Obstacle | None) -> str:
    return COVERED if found is None else f"{DRAINED}: {found.why}"
