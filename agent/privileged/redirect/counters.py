"""Counters of each live rule: packets and bytes."""

from pathlib import Path

from agent.privileged.redirect import kernel, live_rules, specification


def read(prefix: Path) -> list[dict[str, object]]:
    """`[{"chain", "name", "packets", "bytes"}]` in the order of the chains; None where the kernel does not count;
    [] without rules. Raises Refusal."""
    backend = kernel.chosen(specification.backend(live_rules.source(prefix, live_rules.read(prefix))))
    return kernel.BACKENDS[backend].counters()
