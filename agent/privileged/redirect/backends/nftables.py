"""nftables, by the program nft: one table, one transaction."""

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

from agent.core.redirect import Ruleset, nft
from agent.privileged import Refusal
from agent.privileged.system import programs

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
            raise refusal(programs.SET, done.stderr)

    def counters(self) -> list[nft.Json]:
        listing = self._listing()
        entries = listing["nftables"] if listing is not None else []
        return [found for entry in entries for found in _count(entry)]

    def _listing(self) -> Any:
        """None: there is no table of ours."""
        return own_table()


def own_table() -> Any:
    """What nft says of the table of ours; None: there is none. Raises Refusal."""
    done = run("list", "table", "inet", "fairlead")
    if done.returncode == 0 and not _is_incomplete(done):
        return _parsed("read the rules", done.stdout)
    if done.returncode >= 0 and "No such file or directory" in done.stderr:
        return None
    if _is_incomplete(done):  # another program's table, so none of our rules: they are set again
        return {"nftables": [{"unshown": said(done)}]}
    raise refusal("read the rules", done.stderr)


def listed(doing: str, *words: str, within: float | None = None) -> Any:
    """What `nft -j` says to that. Raises Refusal, and programs.TookTooLong after `within` seconds."""
    done = run(*words, within=within)
    if done.returncode != 0 or _is_incomplete(done):
        raise refusal(doing, said(done))
    return _parsed(doing, done.stdout)


def _parsed(doing: str, text: str) -> Any:
    """nft 1.0.6 may end a listing at the flags of a table that is dormant, and exit with 0."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise refusal(doing, f"nft printed incomplete JSON ({error})") from error


def _is_incomplete(done: "subprocess.CompletedProcess[str]") -> bool:
    """JSON cannot express bytes that are not UTF-8, which an interface's name may contain. Then nft ends by
    SIGABRT, or since 1.1.7 omits the condition, which changes the rule."""
    return done.returncode == -signal.SIGABRT or "json_pack failure" in done.stderr


def said(done: "subprocess.CompletedProcess[str]") -> str:
    if _is_incomplete(done):
        return "nft cannot print bytes that are not UTF-8 as JSON"
    return done.stderr


def _count(entry: object) -> Iterator[nft.Json]:
    match entry:
        case {"rule": {"chain": str(chain), "expr": [*expressions], **rest}}:
            counters = (e["counter"] for e in expressions if isinstance(e, dict) and "counter" in e)
            counts: nft.Json = next(counters, {})
            name = str(rest.get("comment", ""))
            yield {"chain": chain, "name": name, "packets": counts.get("packets"), "bytes": counts.get("bytes")}


def run(*arguments: str, input: str = "", within: float | None = None) -> "subprocess.CompletedProcess[str]":
    program = programs.find("nft")
    if program is None:
        raise programs.missing("nft")
    return programs.run(program, "-j", *arguments, input=input, within=within)


def run_text(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """In nft's own language, for what its JSON has wrong."""
    program = programs.find("nft")
    if program is None:
        raise programs.missing("nft")
    return programs.run(program, *arguments)


def refusal(verb: str, errors: str) -> Refusal:
    return programs.refusal(verb, errors, _NEEDS)
