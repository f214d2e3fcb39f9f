"""The judgements of `fairlead check`: for each, what passes and what does not."""

import dataclasses

import pytest

from agent.core.doctor.check import Outcome, Result
from agent.core.doctor.cluster import clients, control_plane, installed, neighbours, selecting
from agent.core.doctor.cluster.seen import (
    Authentication,
    Lease,
    Policy,
    Port,
    Requirement,
    Selector,
    Server,
    Service,
    ServicePort,
    Workload,
)

HOST = Workload(
    namespace="shop",
    name="db-1",
    uid="u",
    labels={"app": "db", "tier": "data"},
    addresses=("192.0.2.10",),
    ports=(Port(5432, "pg"), Port(9000)),
    identity="spiffe://example.org/db-1",
    ready="True",
    reason="HostReady",
)


def but(**changes: object) -> Workload:
    return dataclasses.replace(HOST, **changes)  # type: ignore[arg-type]  # names of fields


def expect(outcome: Outcome, result: Result, words: str = "") -> None:
    assert outcome.result is result and words in outcome.why, outcome
    assert result is Result.OK or result is Result.UNKNOWN or outcome.fix, "a trouble has a fix"


@pytest.mark.parametrize(
    ("workload", "lease", "result", "words"),
    [
        (HOST, Lease(3.0, 40, "u"), Result.OK, "renewed 3 s ago"),
        (HOST, Lease(-2.0, 40), Result.OK, "renewed 0 s ago"),
        (HOST, Lease(300.0, 40, "u"), Result.FAIL, "its Lease of 40 s was renewed 300 s ago"),
        (HOST, Lease(None, 40, "u"), Result.FAIL, "never renewed"),
        (HOST, Lease(3.0, 40, "other"), Result.FAIL, "earlier ExternalWorkload"),
        (HOST, None, Result.FAIL, "no Lease"),
        (but(ready=""), None, Result.FAIL, "not written a status"),
        (but(ready="False", reason="ProbeFailing", message="tcp-5432"), None, Result.FAIL, "tcp-5432"),
        (but(ready="Unknown", reason="Other", message="why"), None, Result.FAIL, "Ready is Unknown (Other): why"),
    ],
)
def test_ready(workload: Workload, lease: Lease | None, result: Result, words: str) -> None:
    expect(selecting.ready(selecting.Published(workload, lease)), result, words)


def test_a_known_reason_has_the_words_of_every_other_report() -> None:
    found = selecting.ready(selecting.Published(but(ready="False", reason="ProbeFailing"), None))
    assert "[ProbeFailing]" in found.why


def service(name: str = "db", ports: tuple[ServicePort, ...] = (), **selector: str) -> Service:
    return Service(name, selector, ports)


@pytest.mark.parametrize(
    ("services", "result", "words"),
    [
        ([service(app="db")], Result.OK, "selected by db"),
        ([service(app="db"), service("web", app="web")], Result.OK, "nearly: Service web wants app=web"),
        ([service(app="db", tier="cache")], Result.WARN, "wants tier=cache, the host has tier=data"),
        ([service(app="db", zone="a")], Result.WARN, "wants zone=a, the host has no label zone"),
        ([service(app="web", tier="cache")], Result.WARN, "no Service in the namespace shop"),
        ([service(role="x")], Result.WARN, "no Service in the namespace shop"),
        ([Service("headless", {})], Result.WARN, "no Service in the namespace shop"),
        ([], Result.WARN, "no Service in the namespace shop"),
    ],
)
def test_services_that_select_and_those_that_nearly_do(
    services: list[Service], result: Result, words: str
) -> None:
    expect(selecting.services(selecting.Selected(HOST, services)), result, words)


@pytest.mark.parametrize(
    ("ports", "result"),
    [
        ((ServicePort(5432, "pg"),), Result.OK),
        ((ServicePort(80, 9000),), Result.OK),
        ((ServicePort(5432, "pg"), ServicePort(80, 8080)), Result.WARN),
        ((ServicePort(80, 8080),), Result.FAIL),
        ((ServicePort(80, "pg", "UDP"),), Result.FAIL),
    ],
    ids=["name", "number", "one of two", "none", "protocol"],
)
def test_ports_of_services(ports: tuple[ServicePort, ...], result: Result) -> None:
    expect(selecting.service_ports(selecting.Selected(HOST, [service(app="db", ports=ports)])), result)


@pytest.mark.parametrize(
    ("ready", "flags", "result"),
    [
        ("True", {"db": True}, Result.OK),
        ("False", {"db": False}, Result.OK),
        ("True", {"db": True, "all": None}, Result.FAIL),
        ("True", {"db": False}, Result.WARN),
        ("Unknown", {"db": True}, Result.WARN),
        ("True", {}, Result.UNKNOWN),
    ],
    ids=["ready", "not ready", "absent", "late", "still", "no service"],
)
def test_slices(ready: str, flags: dict[str, bool | None], result: Result) -> None:
    expect(selecting.slices(selecting.Sliced(but(ready=ready), flags)), result)


@pytest.mark.parametrize(
    ("other", "result", "words"),
    [
        (but(name="b", uid="b", addresses=("192.0.2.11",), identity="spiffe://x/b"), Result.OK, ""),
        (but(name="b", uid="b", identity="spiffe://x/b"), Result.FAIL, "192.0.2.10:5432"),
        (but(name="b", addresses=("::ffff:192.0.2.10",), ports=(), identity="x"), Result.FAIL, "same address"),
        (but(name="b", addresses=("192.0.2.11",)), Result.FAIL, "same identity"),
    ],
    ids=["other", "same place", "same address", "same identity"],
)
def test_unique(other: Workload, result: Result, words: str) -> None:
    expect(neighbours.unique(neighbours.Neighbours(HOST, [other])), result, words)


def test_members_of_a_group_may_share_an_identity() -> None:
    one, other = but(group="g"), but(name="b", group="g", addresses=("192.0.2.11",))
    expect(neighbours.unique(neighbours.Neighbours(one, [other])), Result.OK)


PATTERN = Authentication("MeshTLSAuthentication", "pods", "shop", ("*.shop.serviceaccount.identity.x",))
EVERYBODY = Authentication("MeshTLSAuthentication", "everybody", "shop", ("*",))
ACCOUNTS = Authentication("MeshTLSAuthentication", "accounts", "shop", accounts=("web",))
EXACT = Authentication("MeshTLSAuthentication", "exact", "shop", ("*", "spiffe://x/y"))
NETWORK = Authentication("NetworkAuthentication", "net", "shop", networks=True)
SERVER = Server("pg", Selector({"app": "db"}), "pg")


def guarded(*servers: Server, policies: tuple[Policy, ...] = (), default: str = "") -> clients.Guarded:
    return clients.Guarded(HOST, servers, policies, default)


def test_servers_that_meet_it() -> None:
    others = (
        Server("pods", None, 5432),
        Server("web", Selector({"app": "web"}), 5432),
        Server("x", Selector(), 1),
    )
    found = clients.servers(guarded(SERVER, *others, default="deny"))
    expect(found, Result.OK, "pg=5432: Server pg; 9000: default policy deny")
    older = dataclasses.replace(SERVER, name="zz", port=5432, created="2020-01-01T00:00:00Z")
    newer = dataclasses.replace(SERVER, created="2021-01-01T00:00:00Z")
    expect(clients.servers(guarded(newer, older)), Result.WARN, "pg=5432: zz, pg")


def policy(*required: Authentication, target: tuple[str, str] = ("Server", "pg")) -> Policy:
    return Policy("p", target, required)


@pytest.mark.parametrize(
    ("policies", "result"),
    [
        ((policy(EXACT),), Result.OK),
        ((policy(NETWORK),), Result.OK),
        ((policy(PATTERN), policy(EXACT)), Result.OK),
        ((policy(EXACT, target=("Namespace", "")),), Result.OK),
        ((policy(PATTERN),), Result.WARN),
        ((policy(EVERYBODY),), Result.WARN),
        ((policy(ACCOUNTS),), Result.WARN),
        ((policy(NETWORK, PATTERN),), Result.WARN),
        ((policy(EXACT, target=("Server", "other")),), Result.FAIL),
        ((), Result.FAIL),
    ],
)
def test_policies_that_no_host_satisfies(policies: tuple[Policy, ...], result: Result) -> None:
    expect(clients.admitted(guarded(SERVER, policies=policies)), result)


@pytest.mark.parametrize(
    ("default", "result"),
    [
        ("all-unauthenticated", Result.OK),
        ("", Result.OK),
        ("all-authenticated", Result.WARN),
        ("cluster-authenticated", Result.WARN),
        ("deny", Result.FAIL),
    ],
)
def test_the_default_policy_applies_without_a_server(default: str, result: Result) -> None:
    expect(clients.admitted(guarded(default=default)), result)
    own = dataclasses.replace(HOST, default_policy=default or "all-unauthenticated")
    expect(clients.admitted(clients.Guarded(own, (), (), "deny")), result)


def test_patterns_of_the_cluster() -> None:
    expect(clients.patterns([EXACT]), Result.OK)
    expect(clients.patterns([EXACT, PATTERN]), Result.WARN, "MeshTLSAuthentication shop/pods")
    many = [dataclasses.replace(PATTERN, name=f"p{number}") for number in range(7)]
    expect(clients.patterns(many), Result.WARN, "and 2 more")


@pytest.mark.parametrize(
    ("address", "default", "result"),
    [
        ("10.1.2.3", "cluster-authenticated", Result.OK),
        ("192.0.2.10", "cluster-unauthenticated", Result.WARN),
        ("192.0.2.10", "all-unauthenticated", Result.OK),
        ("2001:db8::1", "cluster-authenticated", Result.WARN),
    ],
)
def test_a_source_outside_cluster_networks(address: str, default: str, result: Result) -> None:
    expect(clients.source(clients.Source(but(addresses=(address,)), default, ["10.0.0.0/8", "fd00::/8"])), result)


@pytest.mark.parametrize(
    ("operator", "values", "label", "meets"),
    [
        ("In", ("db",), "db", True),
        ("In", ("web",), "db", False),
        ("NotIn", ("web",), "db", True),
        ("NotIn", ("db",), "db", False),
        ("Exists", (), "db", True),
        ("DoesNotExist", (), "db", False),
        ("Unheard", (), "db", False),
    ],
)
def test_expressions_of_selectors(operator: str, values: tuple[str, ...], label: str, meets: bool) -> None:
    selector = Selector(expressions=(Requirement("app", operator, values),))
    assert selector.meets({"app": label}) is meets


@pytest.mark.parametrize(
    ("version", "result", "words"),
    [
        ("edge-24.2.4", Result.FAIL, "no status of their own"),
        ("stable-2.15.2", Result.FAIL, "no status of their own"),
        ("enterprise-2.18.1", Result.WARN, "one malformed status"),
        ("edge-26.1.2", Result.WARN, "other namespaces"),
        ("edge-26.8.3", Result.WARN, "crash linkerd-destination"),
        ("dev-abc", Result.UNKNOWN, "nothing is known"),
        ("", Result.UNKNOWN, "does not say"),
    ],
)
def test_what_is_known_of_a_version(version: str, result: Result, words: str) -> None:
    found = control_plane.version(version)
    expect(found, result, words)
    assert (version == "edge-26.8.3") <= ("other namespaces" not in found.why)


def test_installed_objects_are_compared_where_something_is_shipped() -> None:
    shipped = {"kind": "FlowSchema", "metadata": {"name": "f"}, "spec": {"a": [{"b": 1}], "c": "${NAME}"}}
    live = {
        "metadata": {"name": "f", "uid": "x"},
        "spec": {"a": [{"b": 1, "default": 2}], "c": "any"},
        "status": {},
    }

    def seen(*pairs: installed.Pair) -> Outcome:
        return installed.installed(installed.Installed("file.yaml", pairs, "what follows"))

    expect(seen(installed.Pair(shipped, live)), Result.OK, "of this version")
    expect(seen(installed.Pair(shipped, None)), Result.WARN, "not installed: what follows")
    expect(seen(installed.Pair(shipped, live), installed.Pair(shipped, None)), Result.WARN, "absent: FlowSchema f")
    other = {"spec": {"a": [{"b": 2}], "c": ""}}
    expect(seen(installed.Pair(shipped, other)), Result.WARN, "FlowSchema f at spec.a[0].b")
    shorter = {"spec": {"a": [], "c": ""}}
    expect(seen(installed.Pair(shipped, shorter)), Result.WARN, "FlowSchema f at spec.a")


def test_the_watcher() -> None:
    expect(control_plane.watcher(True), Result.OK)
    expect(control_plane.watcher(False), Result.WARN, "stays in load balancing")
