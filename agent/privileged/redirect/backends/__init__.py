"""The kinds of firewall that can set the kernel's rules, each behind the same calls.

Law: a backend renders and reads by `core.redirect` and runs the programs; it decides nothing. None of them
knows another.
"""

from typing import Protocol

from agent.core.redirect import Ruleset


class Backend(Protocol):
    def holds(self) -> bool:
        """Something of ours is there, whole or not. A backend whose program or kernel part this host lacks holds
        nothing. Raises Refusal: one that is there fails."""
        ...

    def read(self) -> Ruleset | None:
        """The live rules; None: there are none of ours. Raises Refusal."""
        ...

    def replace(self, rules: Ruleset | None) -> None:
        """Replace what is there by these; None: leave nothing. Raises Refusal."""
        ...

    def counters(self) -> list[dict[str, object]]:
        """The keys "chain", "name", "packets" and "bytes" of each live rule; [] without any. Raises Refusal."""
        ...
