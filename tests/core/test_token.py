import base64
import dataclasses
import itertools
from typing import Any

import pytest

from agent.core import conditions, policy, token
from agent.core import facts as f
from agent.core.goals import Advertise, ProxyGoal, RedirectGoal
from agent.core.health import Sure
from agent.core.proxy import ProxySettings, Refused, environment
from agent.core.reasons import Fault, Reason
from tests.core import world
from tests.core.world import NOW
from tests.lab import identity_tokens
from tests.lab.identity_tokens import NAME, SUBJECT

# names and claims


def test_a_token_stands_for_the_name_that_linkerd_gives_its_account() -> None:
    assert token.identity("db-1", "shop", "linkerd", "cluster.local") == NAME
    assert token.identity("db-1", "shop", "linkerd", "cluster.local.") == NAME
    assert token.subject("db-1", "shop") == SUBJECT


@pytest.mark.parametrize("audience", [token.AUDIENCE, ["other", token.AUDIENCE]])
def test_what_a_token_says(audience: object) -> None:
    found = token.claims(identity_tokens.token(100, 300, aud=audience))
    assert (found.subject, found.not_before, found.not_after, found.half_life) == (SUBJECT, 100, 300, 200)
    assert token.usable(found, SUBJECT, 150) is None


@pytest.mark.parametrize(
    ("said", "wall", "reason"),
    [
        ({"sub": "system:serviceaccount:shop:other"}, 150, Reason.IDENTITY_TOKEN_UNSUITABLE),
        ({"sub": "alice"}, 150, Reason.IDENTITY_TOKEN_UNSUITABLE),
        ({"aud": ["https://kubernetes.default.svc"]}, 150, Reason.IDENTITY_TOKEN_UNSUITABLE),
        ({"aud": []}, 150, Reason.IDENTITY_TOKEN_UNSUITABLE),
        ({}, 30, Reason.CLOCK_SKEWED),
        ({}, 300, Reason.IDENTITY_EXPIRED),
    ],
)
def test_each_token_that_linkerd_would_not_take_has_its_reason(
    said: dict[str, Any], wall: float, reason: Reason
) -> None:
    fault = token.usable(token.claims(identity_tokens.token(100, 300, **said)), SUBJECT, wall)
    assert fault is not None and fault.reason is reason and fault.detail


WHOLE = identity_tokens.token()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "planted-word",
        "a.b.c",
        "é.é.é",
        WHOLE.replace(".", ""),
        WHOLE.rsplit(".", 1)[0],
        f"x.{base64.urlsafe_b64encode(b'[]').decode()}.x",
        f"x.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.x",
        identity_tokens.token(exp="planted"),
        identity_tokens.token(aud=7),
    ],
)
def test_what_is_no_token_is_told_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="token") as raised:
        token.claims(text)
    assert str(raised.value) == "it is not a service account's token"
    assert raised.value.__suppress_context__


# the decision

SPEC = dataclasses.replace(world.SPEC, identity=NAME, server_name=NAME, outbound_only=True)
TOKEN = f.IdentityFact(token.as_svid(NAME, token.claims(WHOLE)), expires_at=NOW + 3600, received_at=NOW - 1)
MEMBER = f.Phase(f.PhaseKind.MEMBER)


def facts(**changes: Any) -> f.Facts:
    found = world.facts(world.Known("usable", "ready", "on", "on", "pass", "True", 1, 0, answered=True), 1)
    return dataclasses.replace(found, identity=TOKEN, **changes)


def test_all_is_well_and_the_host_is_not_ready_and_says_why() -> None:
    goals = policy.decide(SPEC, MEMBER, facts(), NOW).goals
    assert (goals.advertise, goals.reason) == (Advertise.NO, Reason.IDENTITY_OUTBOUND_ONLY)
    assert (goals.proxy, goals.inbound, goals.outbound) == (
        ProxyGoal.RUNNING,
        RedirectGoal.ON,
        RedirectGoal.ON,
    )
    said = {w.type: (w.status, w.reason) for w in conditions.words(SPEC, MEMBER, facts(), goals, NOW)}
    assert said["Ready"] == ("False", Reason.IDENTITY_OUTBOUND_ONLY)
    assert said["fairlead.dev/IdentityValid"][0] == said["fairlead.dev/RedirectActive"][0] == "True"


def test_nothing_that_is_known_or_unknown_makes_it_ready() -> None:
    proxies = [world.proxy(word) for word in (None, "stopped", "starting", "ready", "unreadable")]
    redirects = [world.redirect(*levels) for levels in ((None, None), ("on", "on"), ("block", "released"))]
    identities: list[f.Maybe[f.IdentityFact]] = [f.UNKNOWN, TOKEN, f.IdentityFact()]
    phases: list[f.Maybe[f.Phase]] = [f.UNKNOWN, *(f.Phase(kind) for kind in f.PhaseKind)]
    for proxy, redirect, identity, phase in itertools.product(proxies, redirects, identities, phases):
        known = dataclasses.replace(facts(proxy=proxy, redirect=redirect), identity=identity)
        assert policy.decide(SPEC, phase, known, NOW).goals.advertise is not Advertise.YES


@pytest.mark.parametrize(("proxy", "good"), [("ready", True), ("stopped", False)])
def test_without_a_token_the_proxys_certificate_counts(proxy: str, good: bool) -> None:
    fault = Fault(Reason.IDENTITY_TOKEN_UNREADABLE)
    known = dataclasses.replace(facts(proxy=world.proxy(proxy)), identity=f.IdentityFact(fault=fault))
    standing = policy.standings(SPEC, known, NOW)["IdentityValid"]
    assert standing == (Sure.GOOD if good else fault)
    assert policy.decide(SPEC, MEMBER, known, NOW).goals.proxy is ProxyGoal.HOLD, "none is started without one"


# the proxy

SETTINGS = ProxySettings(
    version="2.366.0",
    workload="vm-1",
    namespace="shop",
    identity=NAME,
    server_name=NAME,
    addresses=("192.0.2.7",),
    workload_api="",
    token_file="/run/fairlead-token/token",
    identity_folder="/run/fairlead-proxy/identity",
)


def test_the_environment_names_the_controller_and_the_files_and_no_workload_api() -> None:
    found = environment(SETTINGS, "PEM")
    ours = {k.removeprefix("LINKERD2_PROXY_IDENTITY_"): v for k, v in found.items() if "_IDENTITY_" in k}
    assert ours == {
        "SVC_ADDR": "linkerd-identity-headless.linkerd.svc.cluster.local.:8080",
        "SVC_NAME": "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local",
        "DIR": "/run/fairlead-proxy/identity",
        "TOKEN_FILE": "/run/fairlead-token/token",
        "SERVER_ID": NAME,
        "SERVER_NAME": NAME,
        "TRUST_ANCHORS": "PEM",
    }
    other = environment(dataclasses.replace(SETTINGS, identity_controller="10.0.0.1:80"), "PEM")
    assert other["LINKERD2_PROXY_IDENTITY_SVC_ADDR"] == "10.0.0.1:80"


def test_versions_that_cannot_talk_to_spire_serve_a_token_as_well() -> None:
    assert environment(dataclasses.replace(SETTINGS, version="2.330.0"), "PEM")
    with pytest.raises(Refused):
        environment(
            dataclasses.replace(SETTINGS, version="2.330.0", token_file="", workload_api="/run/x"),
            "PEM",
        )
