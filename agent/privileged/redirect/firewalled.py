"""What the host's own firewall does with the redirect that is in force: the answer to `redirect firewall`."""

from pathlib import Path

from agent.core.redirect.walk import Verdict
from agent.privileged import Refusal
from agent.privileged.redirect import admission, departures, live_rules, specification
from agent.privileged.system import configuration


def judge(prefix: Path) -> dict[str, object]:
    """Reads only. Raises Refusal: the configuration cannot be read."""
    source = live_rules.source(prefix, live_rules.read(prefix))
    spec, config = specification.spec(source), configuration.read(source)
    networks = config.redirect.outbound_networks or config.control_plane.cluster_networks
    seen = admission.seen()
    judgement = admission.admission(seen, spec, networks)
    answer: dict[str, object] = {"verdict": judgement.verdict.value, "detail": judgement.cause}
    if judgement.partly:  # perhaps a ban on purpose, so no command to end it
        answer["partly"] = "yes"
    elif judgement.verdict is Verdict.REFUSED:
        answer["commands"] = "; ".join(judgement.commands)
    outbound = departures.judged(seen, spec)
    for verdict in (Verdict.REFUSED, Verdict.UNKNOWN):
        if causes := [one.fault for one in outbound if one.verdict is verdict and not one.partly]:
            answer[f"outbound_{verdict.value}"] = "; ".join(causes)
    if causes := [one.fault for one in outbound if one.partly]:
        answer["outbound_partly"] = "; ".join(causes)
    try:
        departures.loopback_must_be_up()
    except Refusal as refusal:
        answer["loopback"] = refusal.detail
    try:
        admission.tracked(seen, spec, networks)
    except Refusal as refusal:
        answer["untracked"] = refusal.detail
    return answer
