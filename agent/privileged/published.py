"""The ports that container runtimes publish on this host now: by rules of either kind, or by a program that
listens."""

import json

from agent.core.redirect import published
from agent.privileged import sshd
from agent.privileged.backends import nftables, programs


def ports() -> frozenset[int]:
    found = sshd.listening(published.LISTENERS)
    for kind in ("nft", "legacy"):
        for family in ("iptables", "ip6tables"):
            program = programs.find(f"{family}-{kind}-save")
            # A kind that this kernel lacks has published nothing.
            if program and (done := programs.run(program)).returncode == 0:
                found |= published.from_iptables(done.stdout)
    if programs.find("nft"):
        done = nftables.run("list", "ruleset")
        if done.returncode != 0:
            raise nftables.refusal("read the rules", done.stderr)
        found |= published.from_nft(json.loads(done.stdout))
    return found
