"""What the privileged helper answers of the redirect: the live levels, and what waits for an operator."""

from agent.core.facts import Level
from agent.core.late import dataclass, field
from agent.core.slots import Slot


@dataclass(frozen=True)
class LiveRedirect:
    """`edited`: keys of the configuration that differ from the approved one, which is the one in force.
    `suspended`: why ON is not set again until an operator acts. `superseded`: nothing was set: the proxy has been
    proved ready since. `unreported`: what `drifted` does not report, where it works at all; "": nothing."""

    inbound: Level
    outbound: Level
    edited: str = field(default="", compare=False)
    suspended: str = field(default="", compare=False)
    superseded: bool = field(default=False, compare=False)
    unreported: str = field(default="", compare=False)
    slot: Slot = field(default=Slot.MAIN, compare=False)  # that the rules name

    @property
    def steady(self) -> bool:
        """No operator is expected to act, and no change is left unreported."""
        return not (self.edited or self.suspended or self.unreported)
