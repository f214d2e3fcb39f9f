"""nftables, by the program nft: one table, one transaction."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

from agent.core.redirect import Ruleset, nft
from agent.privileged import Refusal
from agent.privileged.backends import programs

_NEEDS = "nf_tables with nat, redirect, reject and connection tracking, for inet"


class Nftables:
    def holds(self) -> bool:
        return programs.find("nft") is not None and programs.there(self._listing) is not None

    def read(self) -> Ruleset | None:
        listing = self._listing()
        return None if listing is None else nft.read(listing)

    def replace(self, rules: Ruleset | None) -> None:
        done = run("-f", "-", input=json.dumps(nft.transaction(rules)))
        if done.returncode != 0:
            raise refusal("set the rules", done.stderr)

    def counters(self) -> list[nft.Json]:
        listing = self._listing()
        entries = listing["nftables"] if listing is not None else []
        return [found for entry in entries for found in _count(entry)]

    def _listing(self) -> Any:
        """None: there is no table of ours."""
        done = run("list", "table", "inet", "fairlead")
        if done.returncode == 0:
            return json.loads(done.stdout)
        if "No such file or directory" in done.stderr:
            return None
        raise refusal("read the rules", done.stderr)


def _count(entry: object) -> Iterator[nft.Json]:
    match entry:
        case {"rule": {"chain": str(chain), "expr": [*expressions], **rest}}:
            counters = (e["counter"] for e in expressions if isinstance(e, dict) and "counter" in e)
            counts: nft.Json = next(counters, {})
            name = str(rest.get("comment", ""))
            yield {"chain": chain, "name": name, "packets": counts.get("packets"), "bytes": counts.get("bytes")}


def run(*arguments: str, input: str = "") -> "subprocess.CompletedProcess[str]":
    program = programs.find("nft")
    if program is None:
        raise programs.missing("nft")
    return programs.run(program, "-j", *arguments, input=input)


def refusal(verb: str, errors: str) -> Refusal:
    return programs.refusal(verb, errors, _NEEDS)
