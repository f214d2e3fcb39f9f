"""Judgements about the kernel's rules: the redirect, the host's firewall, and what a guide left."""

from collections.abc import Sequence

from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.late import dataclass
from agent.core.reasons import Fault, Reason
from agent.core.redirect.admission import Admission
from agent.core.redirect.departure import Departure
from agent.core.redirect.walk import Verdict


def guide(chains: Sequence[str]) -> Outcome:
    if not chains:
        return ok("no chain of the guide is left")
    return fail(f"chains of Linkerd's guide redirect too: {'; '.join(chains)}", "fairlead redirect adopt-guide")


@dataclass(frozen=True)
class Firewall:
    admission: Admission
    departures: Sequence[Departure] = ()


def firewall(seen: Firewall) -> Outcome:
    """A firewall that lets some peers pass may do so on purpose."""
    inward = seen.admission
    if inward.verdict is Verdict.REFUSED:
        what = f"the host's firewall keeps peers from port {inward.port}, by {inward.cause or 'its policy'}"
        fix = "; ".join(inward.commands)
        return (warn if inward.partly else fail)(f"{what} [{Reason.FIREWALL_CLOSED}]", fix)
    for one in seen.departures:
        if one.verdict is Verdict.REFUSED:
            remedy = "let it pass on lo: fairlead plan names the rule"
            return (warn if one.partly else fail)(f"{one.words} [{Reason.FIREWALL_CLOSED}]", remedy)
    told = [(inward.verdict, inward.words), *((one.verdict, one.words) for one in seen.departures)]
    if unclear := [words for verdict, words in told if verdict is Verdict.UNKNOWN]:
        return unknown(unclear[0], "see: fairlead plan")
    return ok(f"peers reach port {inward.port}")


@dataclass(frozen=True)
class Rules:
    """The live rules. `unread`: why they are not known; `edited`: the configuration is not the one in force."""

    live: bool
    levels: str
    as_planned: bool
    suspended: str = ""
    unread: Fault | None = None
    edited: Fault | None = None


def live(seen: Rules) -> Outcome:
    if seen.unread is not None:
        return of_fault(seen.unread)
    if seen.suspended:
        return of_fault(Fault(Reason.REDIRECT_SUSPENDED, seen.suspended))
    if seen.live and not seen.as_planned:
        why = "the live rules differ from those that the configuration in force describes"
        return fail(why, "fairlead plan shows the difference; fairlead redirect apply sets them again")
    if seen.edited is not None:
        return of_fault(seen.edited)
    return ok(seen.levels if seen.live else "no rules are set")
