"""The one privileged helper to root: a small program that serves one request, or refuses it, and ends.

Law: standard library, `core.redirect` and `config`; nothing is imported that a bare interpreter lacks. The caller
may be compromised: a request names a verb and levels, both of closed sets. Root-owned files alone say what is
redirected. Two helpers never write at once. Every request ends within the deadline of its
verb.
"""

from typing import Final

from agent.core.reason import Reason

DEADLINE: Final = 3.5  # seconds from its first line on; its start takes more, and callers wait 4.5
SETS: Final = 7.0  # for one that sets rules: given up on a busy host, it would begin again from nothing


Answer = dict[str, object]  # to a request, beside "ok"


class Refusal(Exception):
    """The privileged helper does not, or cannot, do what it was asked. `reason` None: the failure reason of the
    verb. `remedy`: as `Fault.remedy`."""

    def __init__(self, detail: str, reason: Reason | None = None, remedy: str = "") -> None:
        super().__init__(detail)
        self.detail, self.reason, self.remedy = detail, reason, remedy


class NotSet(Refusal):
    """The kernel, or the program that sets rules there, did not take them."""
