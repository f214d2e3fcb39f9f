"""nftables, by the program nft: one table, one transaction."""

import json
import subprocess

from agent.core.redirect import Ruleset, nft
from agent.privileged import Refusal
from agent.privileged.backends import programs

_NEEDS = "nf_tables with nat, redirect, reject and connection tracking, for inet"


class Nftables:
    def holds(self) -> bool:
        return programs.find("nft") is not None and run("list", "table", "inet", "fairlead").returncode == 0

    def read(self) -> Ruleset | None:
        done = run("list", "table", "inet", "fairlead")
        if done.returncode == 0:
            return nft.read(json.loads(done.stdout))
        if "No such file or directory" in done.stderr:
            return None
        raise refusal("read the rules", done.stderr)

    def replace(self, rules: Ruleset | None) -> None:
        done = run("-f", "-", input=json.dumps(nft.transaction(rules)))
        if done.returncode != 0:
            raise refusal("set the rules", done.stderr)


def run(*arguments: str, input: str = "") -> "subprocess.CompletedProcess[str]":
    program = programs.find("nft")
    if program is None:
        raise programs.missing("nft")
    return programs.run(program, "-j", *arguments, input=input)


def refusal(verb: str, errors: str) -> Refusal:
    return programs.refusal(verb, errors, _NEEDS)
