"""The kernel's rules by one of several backends: read them, and replace what any backend left."""

from collections.abc import Mapping
from typing import Final

from agent.core.redirect import Ruleset
from agent.privileged.redirect import request_cache
from agent.privileged.redirect.backends import Backend, iptables
from agent.privileged.redirect.backends.iptables import Iptables
from agent.privileged.redirect.backends.nftables import Nftables
from agent.privileged.system import deadline, programs

AUTO: Final = "auto"
BACKENDS: Final[Mapping[str, Backend]] = {
    "nftables": Nftables(),
    "iptables-nft": Iptables("nft"),
    "iptables-legacy": Iptables("legacy"),
}


def chosen(wanted: str = AUTO) -> str:
    """The name of the backend. AUTO: nftables where there is nft, else the kind that the host's iptables is."""
    if wanted != AUTO:
        return wanted
    kind = None if programs.find("nft") else iptables.hosts_kind()
    return f"iptables-{kind}" if kind else "nftables"


def read(wanted: str = AUTO) -> Ruleset | None:
    """The live rules; None: there are none. What another backend left counts as foreign. Raises Refusal."""
    name = chosen(wanted)
    return with_leftovers(name, BACKENDS[name].read())


def with_leftovers(name: str, live: Ruleset | None) -> Ruleset | None:
    """What this backend has, and what the others left. Raises Refusal."""
    left = tuple(f"rules by {other}" for other in leftovers(name))
    if not left:
        return live
    return Ruleset(live.chains, (*live.foreign, *left)) if live else Ruleset((), left)


def replace(rules: Ruleset | None, wanted: str = AUTO) -> None:
    """Put these rules in place of what is live, by any backend, or nothing at all (None). Raises Refusal; then the
    rules of the backend in use are unchanged."""
    with deadline.undivided():
        _replace(chosen(wanted), rules)


def _replace(name: str, rules: Ruleset | None) -> None:
    if rules is None:  # whatever another program reports, the rules in use are removed
        BACKENDS[name].replace(None)
    remove_leftovers(name)
    if rules is not None:
        BACKENDS[name].replace(rules)


def remove_leftovers(name: str) -> None:
    """Raises Refusal."""
    if left := leftovers(name):
        for other in left:
            BACKENDS[other].replace(None)
        request_cache.forget()


def leftovers(name: str) -> tuple[str, ...]:
    """The other backends that hold something of ours. Raises Refusal: one cannot be read. All rules of others
    there are read for this."""
    if request_cache.left_alone():
        return ()
    held = (other for other, backend in BACKENDS.items() if other != name and backend.holds())
    return request_cache.once(("leftovers", name), lambda: tuple(held))
