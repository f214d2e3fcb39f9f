"""The ports that container runtimes publish on this host now: by rules of either kind, or by a program that
listens."""

from typing import Final

from agent.core.redirect import published
from agent.privileged import Refusal, host_rules, sshd
from agent.privileged.backends import programs
from agent.privileged.backends.iptables import KINDS

_HOOKS: Final = frozenset({"prerouting"})


def ports() -> frozenset[int]:
    """On the way to BLOCK, and where the rules cannot be read, those that were known last. Raises Refusal: none
    are, and a program that could tell fails."""
    listen, known = sshd.listening(published.LISTENERS), host_rules.remembered()
    if host_rules.left_alone():
        return listen | (known.published if known else frozenset())
    try:
        return listen | _by_rules()
    except Refusal:
        if known is None:
            raise
        return listen | known.published


def _by_rules() -> frozenset[int]:
    found: frozenset[int] = frozenset()
    for kind in KINDS:
        for text in host_rules.saved(kind).values():
            found |= published.from_iptables(text)
    if programs.find("nft"):
        found |= published.from_nft(host_rules.listing(_HOOKS))
    return found
