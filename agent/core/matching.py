"""Whether an ExternalWorkload describes this host: each difference that keeps it from being Ready."""

from collections.abc import Iterator

from agent.core.addresses import comparable
from agent.core.facts import Workload
from agent.core.reasons import Fault, Reason
from agent.core.standing import Spec


def differences(spec: Spec, seen: Workload) -> tuple[Fault, ...]:
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
