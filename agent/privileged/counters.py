"""What each live rule has met: packets and bytes, where the kernel counts them."""

import json
from collections.abc import Iterator
from pathlib import Path

from agent.core.redirect.nft import Json
from agent.privileged import kernel, policy
from agent.privileged.backends import nftables


def read(prefix: Path) -> list[Json]:
    """`[{"chain", "name", "packets", "bytes"}]` in the order of the kernel; None where it does not count.

    [] without a table, and by another backend than nftables. Raises Refusal.
    """
    if kernel.chosen(policy.backend(prefix)) != "nftables":
        return []
    done = nftables.run("list", "table", "inet", "fairlead")
    if done.returncode != 0 and "No such file or directory" in done.stderr:
        return []
    if done.returncode != 0:
        raise nftables.refusal("read the counters", done.stderr)
    return [found for entry in json.loads(done.stdout)["nftables"] for found in _rule(entry)]


def _rule(entry: object) -> Iterator[Json]:
    match entry:
        case {"rule": {"chain": str(chain), "expr": [*expressions], **rest}}:
            counts: Json = next((e["counter"] for e in expressions if isinstance(e, dict) and "counter" in e), {})
            yield {
                "chain": chain,
                "name": str(rest.get("comment", "")),
                "packets": counts.get("packets"),
                "bytes": counts.get("bytes"),
            }
