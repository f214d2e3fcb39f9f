"""Which machines renew one Lease. A reboot replaces a renewer for good. One that was replaced and comes back is
another machine: both are up.
"""

from dataclasses import dataclass

MOST = 3  # that are remembered
PROOF = 2  # returns: one may be a machine that was set back to a snapshot
REMEMBERED = 600.0  # seconds since the last return: the longest that a Lease of a host lasts by its own agent


@dataclass(frozen=True, slots=True)
class Renewers:
    """`former`: those before the present one, the last one last. `returns`: when one of them came back."""

    former: tuple[str, ...] = ()
    returns: tuple[float, ...] = ()

    def after(self, before: str, now_by: str, now: float) -> "Renewers":
        """The Lease was renewed by `now_by`, and the time before by `before`."""
        if not before or not now_by or before == now_by:
            return self
        others = tuple(one for one in self.former if one not in (before, now_by))
        returns = (*self.returns, now)[-PROOF:] if now_by in self.former else self.returns
        return Renewers((*others, before)[-MOST:], returns)

    def together(self, now_by: str, now: float) -> tuple[str, ...]:
        """The machines that renew it, sorted; () unless there are two."""
        proved = len(self.returns) == PROOF and now - self.returns[0] < REMEMBERED
        return tuple(sorted((now_by, self.former[-1]))) if proved else ()


ALONE = Renewers()
