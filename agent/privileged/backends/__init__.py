"""The kinds of firewall that the kernel's rules can be set by, each behind the same three calls.

Law: a backend renders and reads by `core.redirect` and runs the programs; it decides nothing. None of them
knows another.
"""

from typing import Protocol

from agent.core.redirect import Ruleset


class Backend(Protocol):
    def holds(self) -> bool:
        """Something of ours is there, whole or not. A backend that this host lacks holds nothing."""
        ...

    def read(self) -> Ruleset | None:
        """The live rules; None: there are none of ours. Raises Refusal."""
        ...

    def replace(self, rules: Ruleset | None) -> None:
        """Put these in place of whatever is there; None: leave nothing. Raises Refusal."""
        ...
