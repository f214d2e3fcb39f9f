"""Judgements about network, API server and rules: each in a situation that passes and in one that fails."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core.doctor import api, network, rules
from agent.core.doctor.api import Review
from agent.core.doctor.check import Outcome, Result
from agent.core.doctor.network import Application, ControlPlane, Hello, Name, Routes
from agent.core.doctor.rules import Firewall, Rules
from agent.core.reasons import Fault, Reason
from agent.core.redirect.admission import Admission
from agent.core.redirect.departure import Departure
from agent.core.redirect.walk import Verdict

OK, WARN, FAIL, UNKNOWN = Result.OK, Result.WARN, Result.FAIL, Result.UNKNOWN
NOWHERE = Name("", "linkerd-policy: no such name")
ELSEWHERE = replace(NOWHERE, elsewhere=True)
UNREACHED = Fault(Reason.CONTROL_PLANE_UNREACHABLE, "10.42.0.9: no answer in 3 s")
HELLO = Hello("10.42.0.9:8090", 4000, answered=True)
RULES = Rules(live=True, levels="inbound on, outbound on", as_planned=True)
OPEN, SHUT = (
    Admission(Verdict.ACCEPTED, 4143),
    Admission(Verdict.REFUSED, 4143, ("ufw allow fairlead",), rule="drop"),
)
UNCLEAR = Admission(Verdict.UNKNOWN, 4143, why="not understood: xt")


def listens(*places: str, ports: tuple[int, ...] = (8080,)) -> Application:
    found = [(place, 8080) for place in places]
    return Application(ports, ("192.0.2.7", "2001:db8::7"), found)


def reviews(*missing: str) -> list[Review]:
    return [Review(right, right.resource not in missing) for right in api.rights("hosts", "vm-1")]


Case = tuple[Callable[[], Outcome], Result, str]
CASES: dict[str, Case] = {
    "names": (lambda: network.names({"policy": Name("SRV"), "destination": Name("A")}), OK, "policy by SRV"),
    "names-not": (lambda: network.names({"policy": NOWHERE}), FAIL, "no such name"),
    "names-elsewhere": (lambda: network.names({"policy": ELSEWHERE}), FAIL, "by nsswitch.conf"),
    "names-identity": (lambda: network.names({network.IDENTITY: NOWHERE}), FAIL, "the proxy gets no certificate"),
    "identity-not": (lambda: network.control_plane(ControlPlane(None, None, UNREACHED)), FAIL, "no certificate"),
    "controllers": (lambda: network.control_plane(ControlPlane(None, None)), OK, "Linkerd's"),
    "controllers-not": (lambda: network.control_plane(ControlPlane(None, UNREACHED)), FAIL, "no answer in 3 s"),
    "routes": (lambda: network.routes(Routes({"10.42.0.0/16": "via 10.0.0.1 dev eth0"})), OK, "via 10.0.0.1"),
    "routes-not": (lambda: network.routes(Routes({"10.42.0.0/16": ""})), FAIL, "no route to 10.42.0.0/16"),
    "mtu": (lambda: network.path_mtu(HELLO), OK, "4000 bytes"),
    "mtu-lost": (lambda: network.path_mtu(replace(HELLO, answered=False)), FAIL, "does not answer a TLS hello"),
    "mtu-refused": (
        lambda: network.path_mtu(replace(HELLO, answered=False, detail="no connection")),
        UNKNOWN,
        "no connection",
    ),
    "application": (lambda: network.application(listens("::")), OK, "8080"),
    "application-each": (lambda: network.application(listens("192.0.2.7", "2001:db8::7")), OK, "8080"),
    "application-no-port": (lambda: network.application(listens(ports=())), OK, "no port is declared"),
    "application-absent": (lambda: network.application(listens()), FAIL, "no process listens on port 8080"),
    "application-loopback": (
        lambda: network.application(listens("127.0.0.1")),
        FAIL,
        "listens on 127.0.0.1 alone, and not on 192.0.2.7",
    ),
    "application-v4": (lambda: network.application(listens("0.0.0.0")), WARN, "2001:db8::7 port 8080"),
    "server": (lambda: api.server(None), OK, "authority"),
    "server-refuses": (lambda: api.server(Fault(Reason.API_FORBIDDEN)), OK, "authority"),
    "server-not": (lambda: api.server(Fault(Reason.API_NAME_MISMATCH, "x")), FAIL, "ApiNameMismatch"),
    "server-unasked": (lambda: api.server(Fault(Reason.API_JWT_MISSING)), UNKNOWN, "no credential"),
    "credential": (lambda: api.credential(Fault(Reason.API_FORBIDDEN)), OK, "knows who"),
    "credential-not": (lambda: api.credential(Fault(Reason.API_UNAUTHORIZED, "x")), FAIL, "ApiUnauthorized"),
    "rights": (lambda: api.reviewed(reviews()), OK, "each of 8 rights"),
    "rights-status": (
        lambda: api.reviewed(reviews("externalworkloads/status")),
        FAIL,
        "does not allow patch of externalworkloads/status in the namespace hosts",
    ),
    "rights-slices": (lambda: api.reviewed(reviews("endpointslices")), WARN, "list of endpointslices"),
    "workload": (lambda: api.workload([]), OK, "describes"),
    "workload-differs": (
        lambda: api.workload(
            [
                Fault(Reason.WORKLOAD_IDENTITY_MISMATCH, "identity 'a'"),
                Fault(Reason.PORTS_MISMATCH, "[1] there, [2] here"),
            ]
        ),
        FAIL,
        "[1] there, [2] here [PortsMismatch]",
    ),
    "guide": (lambda: rules.guide(()), OK, "no chain"),
    "guide-left": (lambda: rules.guide(("iptables-nft IPv4 PROXY_INIT_REDIRECT",)), FAIL, "PROXY_INIT_REDIRECT"),
    "firewall": (lambda: rules.firewall(Firewall(OPEN)), OK, "4143"),
    "firewall-shut": (lambda: rules.firewall(Firewall(SHUT)), FAIL, "keeps peers from port 4143"),
    "firewall-partly": (lambda: rules.firewall(Firewall(replace(SHUT, partly=True))), WARN, "keeps peers"),
    "firewall-unclear": (lambda: rules.firewall(Firewall(UNCLEAR)), UNKNOWN, "cannot tell"),
    "firewall-out": (
        lambda: rules.firewall(Firewall(OPEN, [Departure(4, Verdict.REFUSED, "drop")])),
        FAIL,
        "IPv4 outbound",
    ),
    "rules": (lambda: rules.live(RULES), OK, "inbound on"),
    "rules-none": (lambda: rules.live(replace(RULES, live=False, as_planned=False)), OK, "no rules"),
    "rules-drift": (lambda: rules.live(replace(RULES, as_planned=False)), FAIL, "differ"),
    "rules-suspended": (lambda: rules.live(replace(RULES, suspended="reverted: x")), FAIL, "RedirectSuspended"),
    "rules-edited": (
        lambda: rules.live(replace(RULES, edited=Fault(Reason.REDIRECT_UNAPPROVED, "workload.ports"))),
        WARN,
        "workload.ports",
    ),
    "rules-unread": (lambda: rules.live(replace(RULES, unread=Fault(Reason.REDIRECT_FORBIDDEN))), FAIL, "may not"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_judgement_names_what_it_saw(name: str) -> None:
    judge, result, words = CASES[name]
    outcome = judge()
    assert outcome.result is result and words in outcome.why
    assert outcome.fix or result in (OK, UNKNOWN)


def test_a_missing_right_has_the_file_that_gives_it() -> None:
    right = api.rights("hosts", "vm-1", anchors_in="linkerd")[-1]
    assert "config/cluster/anchors.yaml" in api.reviewed([Review(right, False)]).fix


def test_a_host_in_token_mode_needs_tokens() -> None:
    (tokens,) = [
        one for one in api.rights("hosts", "vm-1", tokens_for="vm-1-mesh") if one.verb == "create" and one.needed
    ]
    assert tokens.resource == "serviceaccounts/token" and tokens.name == "vm-1-mesh"
