"""The specification that is set at given levels, checked for them: every rule that is set comes from here, or
stood before."""

from pathlib import Path

from agent.core.facts import Level
from agent.core.redirect import Inbound, RedirectSpec
from agent.privileged import Refusal
from agent.privileged.redirect import admission, departures, host_rules, specification
from agent.privileged.redirect.host_rules import Exempt
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import listeners


def of(source: Path, wanted: Levels, session: frozenset[int] = frozenset()) -> RedirectSpec:
    """Raises Refusal: for a direction that is ON, also where the listener is not the proxy's."""
    spec = specification.of_levels(source, wanted, session)
    if Level.ON in wanted:
        listeners.must_be_the_proxys(spec)
    return spec


def new(prefix: Path, wanted: Levels, session: frozenset[int] = frozenset()) -> RedirectSpec:
    """One that is not in force yet. Later the firewall may change, and a redirect in force is not removed."""
    spec = of(prefix, wanted, session)
    if Level.ON in wanted:
        departures.loopback_must_be_up()
        firewall = admission.seen(admission.OUTWARD)
        admission.tracked(firewall, spec)
        if wanted[1] is Level.ON:
            departures.must_pass(firewall, spec)
    return spec


def may_be_on(source: Path) -> bool:
    try:
        of(source, (Level.ON, Level.ON))
    except Refusal:
        return False
    return True


def guards(source: Path) -> bool:
    """The guard has a process to guard: one of the proxy's user may dial this host."""
    spec = specification.letting_go(source)
    return spec.guarded and listeners.may_dial(spec.proxy_uid)


def remember(prefix: Path, spec: RedirectSpec) -> None:
    if spec.inbound is Inbound.ALL:
        host_rules.remember(prefix, Exempt(spec.ssh_ports, spec.published))
