"""Whether the host's own firewall lets redirected outbound connections reach the proxy."""

from collections.abc import Sequence

from agent.core.late import dataclass
from agent.core.redirect.admission import Seen, crowd, firewalld, leaves_some, outcome, spread, where_it_is
from agent.core.redirect.rules import Network
from agent.core.redirect.walk import Arrival, Verdict, together


@dataclass(frozen=True)
class Departure:
    """Of one IP version. `where`: the destinations that `cause` is about; "": all of them. For a redirect of every
    destination, a firewall that refuses some of them is open: it refused them without the redirect too."""

    version: int
    verdict: Verdict
    cause: str = ""  # the rule that refuses, or why it cannot be told
    where: str = ""
    firewalld: bool = False  # its rule refuses
    partly: bool = False  # it refuses, and some destinations of each network pass

    @property
    def words(self) -> str:
        what, to = f"IPv{self.version} outbound connections", f" to {self.where}" if self.where else ""
        match self.verdict:
            case Verdict.ACCEPTED:
                but = f", except{to} ({self.cause})" if self.cause else ""
                return f"the host's firewall lets {what} reach the proxy: open{but}"
            case Verdict.REFUSED:
                return f"the host's firewall keeps {what}{to} from the proxy: closed by {self.cause}"
            case Verdict.UNKNOWN:
                return f"whether the host's firewall lets {what}{to} reach the proxy: cannot tell ({self.cause})"

    @property
    def fault(self) -> str:
        """In short."""
        where = f", to {self.where}" if self.where else ""
        return f"{self.cause} (IPv{self.version} outbound{where})"


def departure(
    seen: Seen, examples: Sequence[Arrival], networks: Sequence[Network], apart: Sequence[Network], *, every: bool
) -> Departure | None:
    """`examples`: one to each of `networks`, of one IP version. `apart`: what is not redirected; None
    where no other is left. `every`: every other destination is redirected."""
    judged = [(part, outcome(seen, one)) for part, one in spread(seen, examples, networks, apart)]
    if not judged:
        return None
    version, passing = examples[0].version, [one for one in judged if one[1].verdict is not Verdict.REFUSED]
    decisive = passing if every and passing else judged
    worst = together(one for _, one in decisive)
    where = where_it_is(worst.verdict, judged)
    if worst.verdict is Verdict.REFUSED:
        by_firewalld = any(firewalld(seen, one) for _, one in spread(seen, examples, networks, apart))
        return Departure(
            version, worst.verdict, worst.rule, where, by_firewalld, partly=leaves_some(judged, networks)
        )
    if worst.verdict is Verdict.UNKNOWN:
        return Departure(version, worst.verdict, f"not understood: {worst.rule}", where)
    if crowded := crowd(seen, networks):
        return Departure(version, Verdict.UNKNOWN, crowded)
    refusal = together(one for _, one in judged)
    return Departure(version, worst.verdict, refusal.rule, where_it_is(refusal.verdict, judged))
