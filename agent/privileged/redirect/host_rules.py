"""The firewall rules of others on this host: read once a request, without the sets that decide nothing, and not at
all on the way to BLOCK.

Law: the rules of others never prevent closing a port. There the ports that were exempt when the rules were last
set stay exempt.
"""

import json
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from agent.core.late import dataclass
from agent.core.redirect import Published, relevant_sets
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.redirect import request_cache
from agent.privileged.redirect.backends import nftables
from agent.privileged.redirect.backends.iptables import Iptables
from agent.privileged.system import files, programs

_WITHIN: Final = 1.0  # seconds for one set; a larger one stays unlisted, and what depends on it is unknown


# what others wrote ---------------------------------------------------------------------------------


def listing(hooks: frozenset[str]) -> object:
    """What `nft -j list ruleset` says, with the elements of those sets alone that rules on the way from these
    hooks refer to; the others are marked as not known. Raises Refusal."""
    return request_cache.once(("listing", hooks), lambda: _listing(hooks))


def saved(kind: str) -> dict[int, str]:
    """What save says of this kind of iptables, by IP version. Raises Refusal."""
    return request_cache.once(("saved", kind), Iptables(kind).seen)


def _listing(hooks: frozenset[str]) -> object:
    ruleset = request_cache.once(
        "terse", lambda: nftables.listed("read the host's firewall", "-t", "list", "ruleset")
    )
    ruleset = relevant_sets.with_flags(
        ruleset, {table: _flags(*table) for table in relevant_sets.misprinted(ruleset)}
    )
    sets: dict[relevant_sets.Name, object] = {}
    while more := relevant_sets.named_sets(ruleset, hooks) - sets.keys():
        sets |= {name: _set(name) for name in more}
        ruleset = relevant_sets.with_sets(ruleset, sets)
    return relevant_sets.marked(ruleset, sets)


def _flags(family: str, table: str) -> list[str]:
    """From the text of the listing. Raises Refusal."""
    done = nftables.run_text("-t", "list", "table", family, table)
    if done.returncode != 0:
        raise nftables.refusal("read the host's firewall", done.stderr)
    match = re.search(r"^\tflags ([a-z, ]+)$", done.stdout, re.MULTILINE)
    return match[1].replace(" ", "").split(",") if match else []


def _set(name: relevant_sets.Name) -> object:
    """None: it no longer exists, or is too large."""
    kind, family, table, own = name
    within = _WITHIN if request_cache.current() else None
    try:
        return nftables.listed("read a set", "list", kind, family, table, own, within=within)
    except (Refusal, programs.TookTooLong):
        return None


# ports that were exempt ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Exempt:
    """What rules for every port leave out: the ports of SSH, and those that containers publish."""

    ssh: frozenset[int] = frozenset()
    published: frozenset[Published] = frozenset()


def remember(prefix: Path, exempt: Exempt) -> None:
    """Under `files.lock`. Raises Refusal."""
    path = Host(prefix).exempt_ports
    published = sorted([str(address) if address else "", port] for address, port in exempt.published)
    text = json.dumps({"ssh": sorted(exempt.ssh), "published": published}) + "\n"
    if not request_cache.left_alone() and not (path.exists() and files.read(path) == text):
        files.write(path, text)


def remembered() -> Exempt | None:
    """None: nothing was, or it cannot be read."""
    cache = request_cache.current()
    path = Host(cache.prefix).exempt_ports if cache else None
    if path is None or not path.exists():
        return None
    try:
        match json.loads(files.read(path)):
            case {"ssh": [*ssh], "published": [*published]}:
                return Exempt(frozenset(map(int, ssh)), frozenset(map(_published, published)))
    except (Refusal, ValueError, TypeError):
        pass
    return None


def _published(entry: object) -> Published:
    """A port alone, as older versions wrote it, is one at every address. Raises ValueError."""
    match entry:
        case [str(address), int(port)]:
            return ip_address(address) if address else None, port
        case int(port):
            return None, port
    raise ValueError(f"no published port: {entry}")
