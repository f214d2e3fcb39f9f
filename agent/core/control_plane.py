"""The control plane as seen by one process of the proxy: read from its metrics, which are cumulative.

The policy client asks at the proxy's start, because it watches the policy of the admin port. So an answer of the
policy controller to this process is the proof. The series of its answers exist as long as the client, so an agent
that starts later reads the same.
"""

import re
from collections.abc import Iterator, Mapping

from agent.core.facts import UNKNOWN, Control, Counters, Facts, Level, Maybe, ProxyState
from agent.core.health import Standing, Sure
from agent.core.reason import Fault, Reason

# With these codes the controller refuses: invalid argument, not found, permission denied, failed precondition,
# unimplemented, unauthenticated. Other codes end a stream that was served.
_REFUSED = frozenset({"3", "5", "7", "9", "12", "16"})
_SERIES = (
    r"^(control_response_latency_ms_count|control_response_total|control_dns_resolutions_total)"
    r"\{([^}]*)\} (\d{1,18})\b"
)
_LABEL = r'(\w+)="([^"]*)"'


def policy_address(written: str, namespace: str, domain: str) -> str:
    """HOST:PORT; "" written: as Linkerd's chart names it."""
    return written or f"linkerd-policy.{namespace}.svc.{domain}.:8090"


def destination_address(written: str, namespace: str, domain: str) -> str:
    return written or f"linkerd-dst-headless.{namespace}.svc.{domain}.:8086"


# readings ------------------------------------------------------------------------------------------


def read_metrics(text: str, policy: str) -> Maybe[Counters]:
    """The state of the client for `policy` (HOST:PORT) in `/metrics`; UNKNOWN: the text is incomplete."""
    if not text.rstrip().endswith("# EOF"):
        return UNKNOWN
    host, _, port = policy.rpartition(":")
    address = f"{host.removesuffix('.')}:{port}"
    return _counted(re.findall(_SERIES, text, re.MULTILINE), address)


def _counted(series: list[tuple[str, str, str]], address: str) -> Counters:
    answers = refusals = failures = found = missed = 0
    for name, text, value in series:
        labels, count = dict(re.findall(_LABEL, text)), int(value)
        if name == "control_dns_resolutions_total":
            if labels.get("client") == "policy":
                found += count if labels.get("result") == "ok" else 0
                missed += count if _no_address(labels) else 0
        elif labels.get("addr") != address:
            continue
        elif name == "control_response_latency_ms_count":
            answers += count if labels.get("status_code") == "200" else 0
        elif "status_code" not in labels:
            failures += count
        elif labels.get("grpc_status") in _REFUSED:
            refusals += count
    return Counters(answers, refusals, failures, found, missed)


def _no_address(labels: Mapping[str, str]) -> bool:
    """The lookup that counts: a missing SRV record is usual; then the proxy asks for addresses."""
    return labels.get("result") == "not_found" and labels.get("record_type") == "A/AAAA"


def answered(counters: Counters) -> bool:
    return counters.answers > counters.refusals


def after(before: Control | None, counters: Counters) -> Control:
    """The state of this process after this reading. An answer stays valid."""
    proved = answered(counters) or (before is not None and before.answered)
    lost = before is not None and before.lost
    if before is not None and counters.failures > before.counters.failures:
        lost = proved
    if before is not None and counters.answers > before.counters.answers:
        lost = False
    unresolved = counters.missed > 0 and counters.found == 0
    return Control(proved, lost, unresolved and not proved, counters)


# the decision's part -------------------------------------------------------------------------------


def outbound(proved: Maybe[bool], failed: Maybe[Level]) -> Maybe[Level]:
    """The level of the outbound redirect while the proxy is ready; UNKNOWN: nothing may change. Without a first
    answer the proxy cannot send into the mesh, so until then the failure policy applies."""
    if proved is UNKNOWN:
        return UNKNOWN
    return Level.ON if proved else failed


def proved(facts: Facts) -> Maybe[bool]:
    proxy = facts.serving
    return UNKNOWN if proxy is UNKNOWN or proxy.control is None else proxy.control.answered


def standing(facts: Facts) -> Standing:
    """Whether the policy controller has answered this process of the proxy. A later loss is a warning."""
    proxy = facts.serving
    if proxy is UNKNOWN or proxy.state is ProxyState.UNREADABLE:
        return Sure.UNSURE
    if proxy.control is None:
        return Sure.UNSURE if proxy.state is ProxyState.READY else Fault(Reason.CONTROL_PLANE_PENDING)
    return Sure.GOOD if proxy.control.answered else _why_not(facts, proxy.control)


def _why_not(facts: Facts, control: Control) -> Fault:
    look = facts.control_plane
    if look is not UNKNOWN and look.policy is not None:
        return look.policy
    if control.unresolved:
        return Fault(
            Reason.CONTROL_PLANE_UNRESOLVED, "the proxy's own look-up finds no address, by /etc/resolv.conf"
        )
    refused = control.counters.refusals
    return Fault(Reason.CONTROL_PLANE_PENDING, "it refuses what the proxy asks" if refused else "")


def remarks(facts: Facts) -> Iterator[Fault]:
    """The host keeps serving with what the proxy already knows."""
    proxy, look = facts.serving, facts.control_plane
    if proxy is UNKNOWN or proxy.control is None:
        return
    if proxy.control.lost:
        detail = look.policy.detail if look is not UNKNOWN and look.policy is not None else ""
        yield Fault(Reason.CONTROL_PLANE_LOST, detail)
    if look is not UNKNOWN and look.destination is not None:
        yield Fault(Reason.DESTINATION_UNREACHABLE, f"{look.destination.reason}: {look.destination.detail}")
