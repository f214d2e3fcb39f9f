"""Whether an ExternalWorkload describes this host, and this host has the addresses that peers connect to."""

from collections.abc import Iterator

from agent.core.addresses import comparable
from agent.core.facts import UNKNOWN, Facts, Workload
from agent.core.health import Spec, Standing, Sure
from agent.core.reasons import Fault, Reason


def addresses_standing(spec: Spec, facts: Facts) -> Standing:
    if spec.address_translated:
        return Sure.GOOD
    fact = facts.addresses
    if fact is UNKNOWN or fact.absent is UNKNOWN:
        return Sure.UNSURE
    return Fault(Reason.ADDRESS_ABSENT, ", ".join(fact.absent)) if fact.absent else Sure.GOOD


def differences(spec: Spec, seen: Workload) -> tuple[Fault, ...]:
    """Each that keeps the host from being Ready."""
    return tuple(_differences(spec, seen))


def _differences(spec: Spec, seen: Workload) -> Iterator[Fault]:
    if seen.identity != spec.identity:
        detail = f"identity {seen.identity!r} instead of {spec.identity!r}"
        yield Fault(Reason.WORKLOAD_IDENTITY_MISMATCH, detail)
    if seen.server_name != spec.server_name:
        detail = f"server name {seen.server_name!r} instead of {spec.server_name!r}"
        yield Fault(Reason.WORKLOAD_SERVER_NAME_MISMATCH, detail)
    mine = {comparable(text) for text in spec.addresses}
    others = sorted({text for text in seen.addresses if comparable(text) not in mine})
    if others or not seen.addresses:
        detail = f"address {', '.join(others) or 'none'} instead of {', '.join(spec.addresses)}"
        yield Fault(Reason.WORKLOAD_ADDRESS_MISMATCH, detail)
