"""The ports that container runtimes publish on this host now: by rules of either kind, or by a program that
listens."""

import json

from agent.core.redirect import published
from agent.privileged import sshd
from agent.privileged.backends import nftables, programs
from agent.privileged.backends.iptables import KINDS, Iptables


def ports() -> frozenset[int]:
    """Raises Refusal: a program that could tell fails."""
    found = sshd.listening(published.LISTENERS)
    for kind in KINDS:
        for text in Iptables(kind).seen().values():
            found |= published.from_iptables(text)
    if programs.find("nft"):
        done = nftables.run("list", "ruleset")
        if done.returncode != 0:
            raise nftables.refusal("read the rules", done.stderr)
        found |= published.from_nft(json.loads(done.stdout))
    return found
