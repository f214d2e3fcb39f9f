"""The chains that an operator created manually from Linkerd's guide: detected and removed.

Law: a chain counts by its name, PROXY_INIT_*, in the table nat. There may be several jumps to it, because the
guide's commands add one each time they are run.
"""

from agent.core.redirect.iptables import Saved, chain_of
from agent.core.redirect.iptables_words import target

_PREFIX = "PROXY_INIT_"


def guide_chains(saved: Saved) -> tuple[str, ...]:
    """The names of the chains; () if there are none."""
    return tuple(sorted(name for name in saved.chains.get("nat", ()) if name.startswith(_PREFIX)))


def removal(saved: Saved) -> str:
    """The input of `iptables-restore --noflush` that removes them in one transaction; "": there are none."""
    chains = guide_chains(saved)
    if not chains:
        return ""
    lines = [line for line in saved.lines.get("nat", ()) if not chain_of(line).startswith(_PREFIX)]
    jumps = [line for line in lines if target(line) in chains]
    commands = (
        *(f":{name} - [0:0]" for name in chains),
        *(f"-D {line.removeprefix('-A ')}" for line in jumps),
        *(f"-X {name}" for name in chains),
    )
    return "\n".join(("*nat", *commands, "COMMIT", ""))
