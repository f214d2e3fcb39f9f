"""The decision at every single point: each phase × each combination of facts, and named tables of verdicts."""

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from agent.core import anchors, policy
from agent.core import facts as f
from agent.core.failure import Failure
from agent.core.goals import Advertise, Goals, ProxyGoal, RedirectGoal
from agent.core.health import Spec, Sure
from agent.core.policy_identity import identity_remarks, svid_usable, untrusted
from agent.core.reasons import Fault, Reason
from agent.core.standings import ports_standing, proxy_standing
from tests.core import world
from tests.core.world import FAR, ID, JUST_NOW, LONG_AGO, NOW, SPEC

IDENTITIES = (None, "usable", "expired", "silent", "unexpected")
PROXIES = (None, "stopped", "starting", "ready", "expired", "not-ready", "unreadable", "stopping")
REDIRECTS = (
    (None, None),
    ("fault", "fault"),
    *itertools.product(("off", "released", "block", "on"), ("off", "released", "on")),
)
PROBES = (None, "pass", "fail")
WORKLOADS = (None, "missing", "away", "True", "False")
# Lease and readiness of the agent: what stands may be held, stands from another boot, or the window is over.
AGES = ((f.LeaseFact("boot1"), JUST_NOW), (f.LeaseFact("boot2"), JUST_NOW), (f.LeaseFact("boot1"), LONG_AGO))
BLIND = f.SlicesFact(fault=Fault(Reason.SLICES_FORBIDDEN))
READY = world.proxy("ready")
PHASES = [f.Phase(kind, since) for kind in f.PhaseKind for since in (JUST_NOW, LONG_AGO)]


def every_point() -> Iterator[tuple[f.Maybe[f.Phase], f.Facts, Goals]]:
    axes = itertools.product(
        [world.identity(word) for word in IDENTITIES],
        [world.proxy(word) for word in PROXIES],
        [world.redirect(*words) for words in REDIRECTS],
        [world.probes(word) for word in PROBES],
        [world.workload(word) for word in WORKLOADS],
        AGES,
    )
    for identity, proxy, redirect, probes, workload, (lease, ready_at) in axes:
        agent = f.UNKNOWN if ready_at is None else f.AgentFact(ready_at)
        facts = f.Facts(identity, proxy, redirect, probes, workload, lease, agent, BLIND, world.ANCHORED)
        facts = dataclasses.replace(world.settled(facts), addresses=world.PRESENT)
        for phase in PHASES:
            if phase.since == LONG_AGO and phase.kind in (f.PhaseKind.MEMBER, f.PhaseKind.DRAINED):
                continue  # the drain limit is nothing to them
            if phase.kind is not f.PhaseKind.MEMBER and (lease, ready_at) != AGES[0]:
                continue  # nor what may be held to the others
            yield phase, facts, policy.decide(SPEC, phase, facts, NOW).goals


def test_every_point() -> None:
    count = 0
    for phase, facts, goals in every_point():
        assert isinstance(phase, f.Phase)
        count += 1
        try:
            check(phase, facts, goals)
        except AssertionError as error:
            raise AssertionError(f"{phase}\n{facts}\n{goals}") from error
    assert count > 60_000


def check(phase: f.Phase, facts: f.Facts, goals: Goals) -> None:
    proxy, redirect = facts.proxy, facts.redirect
    ready = proxy is not f.UNKNOWN and proxy.state is f.ProxyState.READY and proxy.certificate_expires_at == FAR
    unsure = proxy is f.UNKNOWN or proxy.state is f.ProxyState.UNREADABLE
    leaving = phase.kind in (f.PhaseKind.LEFT, f.PhaseKind.SHUTTING_DOWN)
    if RedirectGoal.ON in (goals.inbound, goals.outbound):
        assert ready
    if unsure and not leaving:
        assert (goals.inbound, goals.outbound) == (RedirectGoal.HOLD, RedirectGoal.HOLD)
    if goals.inbound in (RedirectGoal.OFF, RedirectGoal.RELEASED):
        assert phase.kind is f.PhaseKind.LEFT
    if goals.inbound is RedirectGoal.OFF:
        assert proxy is not f.UNKNOWN and proxy.state is f.ProxyState.STOPPED
    if leaving and redirect is not f.UNKNOWN and redirect.inbound in (f.Level.OFF, f.Level.RELEASED):
        assert goals.inbound not in (RedirectGoal.ON, RedirectGoal.BLOCK)
    if goals.proxy is ProxyGoal.RUNNING:
        assert not leaving and svid_usable(SPEC, facts, NOW)
    if goals.proxy in (ProxyGoal.STOPPED, ProxyGoal.DRAINED):
        assert leaving
    if goals.advertise is Advertise.YES:
        assert phase.kind is f.PhaseKind.MEMBER and ready
        assert redirect == f.RedirectFact(f.Level.ON, f.Level.ON)
        assert facts.probes == world.probes("pass")
        assert facts.workload is not f.UNKNOWN and facts.workload.seen is not None
    if phase.kind is not f.PhaseKind.MEMBER:
        assert goals.advertise is Advertise.NO
    known_bad = facts.probes == world.probes("fail") or (proxy is not f.UNKNOWN and not ready and not unsure)
    if phase.kind is f.PhaseKind.MEMBER and known_bad:
        assert goals.advertise is Advertise.NO  # a known fault beats an unknown


def test_an_unknown_phase_holds_everything() -> None:
    verdict = policy.decide(SPEC, f.UNKNOWN, serving(), NOW)
    assert verdict.goals == Goals(reason=Reason.PHASE_UNREADABLE)


def serving(**changes: object) -> f.Facts:
    facts = f.Facts(
        identity=world.identity("usable"),
        proxy=world.proxy("ready"),
        redirect=world.redirect("on", "on"),
        probes=world.probes("pass"),
        workload=world.workload("True"),
        lease=world.lease(1),
        agent=f.AgentFact(JUST_NOW),
        anchors=world.ANCHORED,
        addresses=world.PRESENT,
    )
    return dataclasses.replace(world.settled(facts), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [f.PhaseKind.MEMBER, f.PhaseKind.DRAINED])
@pytest.mark.parametrize("proxy", PROXIES)
def test_nothing_is_changed_before_it_is_known_whether_the_proxy_is_being_replaced(
    proxy: str | None, kind: f.PhaseKind
) -> None:
    goals = decide(serving(replacement=f.UNKNOWN, proxy=world.proxy(proxy)), kind=kind)
    assert (goals.proxy, goals.inbound, goals.outbound) == (ProxyGoal.HOLD, RedirectGoal.HOLD, RedirectGoal.HOLD)
    assert goals.advertise is not Advertise.YES
    known = kind is f.PhaseKind.DRAINED or isinstance(
        proxy_standing(serving(proxy=world.proxy(proxy)), NOW), Fault
    )
    assert (goals.advertise is Advertise.NO) is known


def test_all_well_is_ready() -> None:
    goals = decide(serving())
    assert goals == Goals(ProxyGoal.RUNNING, RedirectGoal.ON, RedirectGoal.ON, Advertise.YES, Reason.HOST_READY)


def decide(facts: f.Facts, spec: Spec = SPEC, kind: f.PhaseKind = f.PhaseKind.MEMBER) -> Goals:
    return policy.decide(spec, f.Phase(kind, JUST_NOW), facts, NOW).goals


def other(**changes: object) -> f.WorkloadFact:
    """An ExternalWorkload that does not describe this host."""
    fact = world.workload("True")
    assert isinstance(fact, f.WorkloadFact) and fact.seen is not None
    return f.WorkloadFact(dataclasses.replace(fact.seen, **changes))  # type: ignore[arg-type]


def certified_until(end: float | None) -> f.ProxyFact:
    assert isinstance(READY, f.ProxyFact)
    return dataclasses.replace(READY, certificate_expires_at=end)


UNCOVERED = dataclasses.replace(world.ANCHORED, untrusted=world.SVID.fingerprint)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"anchors": UNCOVERED, "proxy": world.proxy("stopped")}, Reason.IDENTITY_UNTRUSTED),
        ({"identity": world.identity("unexpected")}, Reason.IDENTITY_UNEXPECTED),
        ({"identity": world.identity("expired"), "proxy": world.proxy("stopped")}, Reason.IDENTITY_EXPIRED),
        ({"identity": world.identity("silent"), "proxy": world.proxy("stopped")}, Reason.WORKLOAD_API_ABSENT),
        ({"proxy": world.proxy("stopped")}, Reason.PROXY_STOPPED),
        ({"proxy": world.proxy("starting")}, Reason.PROXY_STARTING),
        ({"proxy": world.proxy("expired")}, Reason.PROXY_CERTIFICATE_EXPIRED),
        ({"redirect": world.redirect("fault", "fault")}, Reason.REDIRECT_FORBIDDEN),
        ({"redirect": world.redirect("block", "released")}, Reason.REDIRECT_BLOCKED),
        ({"redirect": world.redirect("on", "released")}, Reason.REDIRECT_PENDING),
        ({"redirect": world.redirect("partial", "on")}, Reason.REDIRECT_PENDING),
        ({"addresses": f.AddressesFact(("10.9.0.2",))}, Reason.ADDRESS_ABSENT),
        ({"probes": world.probes("fail")}, Reason.PROBE_FAILING),
        ({"workload": world.workload("missing")}, Reason.WORKLOAD_MISSING),
        ({"workload": world.workload("True", identity="spiffe://td/other")}, Reason.WORKLOAD_IDENTITY_MISMATCH),
        ({"workload": other(server_name="web.sni")}, Reason.WORKLOAD_SERVER_NAME_MISMATCH),
        ({"workload": other(addresses=("10.9.0.2", "10.9.0.3"))}, Reason.WORKLOAD_ADDRESS_MISMATCH),
        ({"workload": other(addresses=())}, Reason.WORKLOAD_ADDRESS_MISMATCH),
        ({"workload": f.WorkloadFact(fault=Fault(Reason.WORKLOAD_KIND_ABSENT))}, Reason.WORKLOAD_KIND_ABSENT),
        ({"proxy": world.proxy("stopping")}, Reason.PROXY_STOPPING),
        ({"proxy": certified_until(NOW)}, Reason.PROXY_CERTIFICATE_EXPIRED),
        ({"proxy": certified_until(None)}, Reason.PROXY_CERTIFICATE_EXPIRED),
        # A proxy that ends no longer proves an identity, whichever certificate it had.
        (
            {
                "identity": world.identity("silent"),
                "proxy": dataclasses.replace(certified_until(FAR), state=f.ProxyState.STOPPING),
            },
            Reason.WORKLOAD_API_ABSENT,
        ),
        # The first aspect in order is named, and a fault beats an unknown.
        ({"proxy": f.UNKNOWN, "probes": world.probes("fail")}, Reason.PROBE_FAILING),
    ],
)
def test_a_fault_unreadies(changes: dict[str, object], reason: Reason) -> None:
    goals = decide(serving(**changes))
    assert (goals.advertise, goals.reason) == (Advertise.NO, reason)


@pytest.mark.parametrize("field", ["identity", "proxy", "redirect", "workload", "probes", "addresses"])
def test_an_unknown_holds_and_after_the_window_unreadies(field: str) -> None:
    unknown = world.probes(None) if field == "probes" else f.UNKNOWN
    facts = serving(**{field: unknown})
    assert decide(facts).advertise is Advertise.HOLD
    later = dataclasses.replace(facts, agent=f.AgentFact(LONG_AGO))
    assert decide(later).advertise is Advertise.NO


def test_a_slow_probe_stretches_the_window() -> None:
    facts = serving(probes=world.probes(None), agent=f.AgentFact(NOW - 70))
    assert decide(facts).advertise is Advertise.NO
    assert decide(facts, dataclasses.replace(SPEC, probe_window=70.1)).advertise is Advertise.HOLD
    assert decide(facts, dataclasses.replace(SPEC, probe_window=70.0)).advertise is Advertise.NO


def test_a_silent_source_leaves_ready_while_the_proxys_certificate_lasts() -> None:
    goals = decide(serving(identity=world.identity("silent")))
    assert (goals.advertise, goals.proxy) == (Advertise.YES, ProxyGoal.HOLD)


def test_an_api_server_that_is_away_changes_nothing() -> None:
    seen = world.workload("True")
    assert isinstance(seen, f.WorkloadFact)
    away = dataclasses.replace(seen, fault=Fault(Reason.API_UNREACHABLE))
    assert decide(serving(workload=away)) == decide(serving())


@pytest.mark.parametrize(
    ("changes", "inbound", "outbound"),
    [
        ({}, RedirectGoal.BLOCK, RedirectGoal.RELEASED),
        ({"inbound_failure": Failure.OPEN}, RedirectGoal.RELEASED, RedirectGoal.RELEASED),
        ({"outbound_failure": Failure.CLOSED}, RedirectGoal.BLOCK, RedirectGoal.BLOCK),
        ({"outbound_failure": Failure.CLOSED, "outbound": False}, RedirectGoal.BLOCK, RedirectGoal.RELEASED),
        ({"redirect": False}, RedirectGoal.RELEASED, RedirectGoal.RELEASED),
    ],
)
def test_the_failure_policy(changes: dict[str, object], inbound: RedirectGoal, outbound: RedirectGoal) -> None:
    goals = decide(serving(proxy=world.proxy("stopped")), dataclasses.replace(SPEC, **changes))  # type: ignore[arg-type]
    assert (goals.inbound, goals.outbound) == (inbound, outbound)


@pytest.mark.parametrize(
    ("once", "inbound"),
    [
        (f.UNKNOWN, RedirectGoal.HOLD),
        (f.ReadyOnceFact(False), RedirectGoal.RELEASED),
        (f.ReadyOnceFact(True), RedirectGoal.BLOCK),
        (f.ReadyOnceFact(False, Fault(Reason.STATE_UNWRITABLE)), RedirectGoal.RELEASED),
    ],
)
def test_by_default_a_port_is_closed_from_the_first_ready_on(
    once: f.Maybe[f.ReadyOnceFact], inbound: RedirectGoal
) -> None:
    spec = dataclasses.replace(SPEC, inbound_failure=Failure.CLOSED_AFTER_READY)
    goals = decide(serving(proxy=world.proxy("stopped"), ready_once=once), spec)
    assert (goals.inbound, goals.outbound) == (inbound, RedirectGoal.RELEASED)
    assert decide(serving(ready_once=once), spec).inbound is RedirectGoal.ON
    written = dataclasses.replace(SPEC, inbound_failure=Failure.CLOSED)
    assert decide(serving(proxy=world.proxy("stopped"), ready_once=once), written).inbound is RedirectGoal.BLOCK


def test_redirect_off_is_ready_once_tracking_is_on() -> None:
    spec = dataclasses.replace(SPEC, redirect=False)
    assert decide(serving(redirect=world.redirect("released", "released")), spec).advertise is Advertise.YES
    goals = decide(serving(redirect=world.redirect("off", "off")), spec)
    assert (goals.advertise, goals.reason) == (Advertise.NO, Reason.REDIRECT_PENDING)


# identity -------------------------------------------------------------------------------------------


def test_an_svid_that_the_anchors_do_not_cover_starts_no_proxy_and_stops_none() -> None:
    """The proxy has refused it too, and serves on with the one before."""
    assert decide(serving(anchors=UNCOVERED, proxy=world.proxy("stopped"))).proxy is ProxyGoal.HOLD
    assert decide(serving(anchors=UNCOVERED)).advertise is Advertise.YES
    assert untrusted(serving(anchors=UNCOVERED)) == Fault(Reason.IDENTITY_UNTRUSTED, ID)


def test_a_verdict_on_an_earlier_svid_is_none_on_this_one() -> None:
    facts = serving(anchors=dataclasses.replace(world.ANCHORED, untrusted="of another"))
    assert untrusted(facts) is None and svid_usable(SPEC, facts, NOW)


def test_unknown_anchors_hold() -> None:
    goals = decide(serving(anchors=f.UNKNOWN, proxy=world.proxy("stopped")))
    assert goals.proxy is ProxyGoal.HOLD
    assert decide(serving(anchors=f.UNKNOWN)).advertise is Advertise.HOLD


@pytest.mark.parametrize(("lifetime", "early"), [(3600, 5), (20, 5), (10, 2.5), (4, 1)])
def test_a_host_whose_svid_runs_out_is_unready_before_its_end(lifetime: float, early: float) -> None:
    """And one whose successor comes at half of its life, however short that is, never is."""

    def advertise(left: float) -> Advertise:
        end = NOW + left
        fact = f.IdentityFact(f.Svid(ID, "EC P-256", 0, lifetime), end, received_at=end - lifetime)
        assert isinstance(READY, f.ProxyFact)
        proxy = dataclasses.replace(READY, certificate_expires_at=end)
        return decide(serving(identity=fact, proxy=proxy)).advertise

    assert advertise(early + 0.01) is Advertise.YES
    assert advertise(early) is Advertise.NO
    assert early < lifetime / 2


@pytest.mark.parametrize(
    ("lifetime", "left", "advertised"),
    [
        (3600, 5.01, Advertise.YES),
        (3600, 5, Advertise.NO),
        (3600, 0.01, Advertise.NO),
        (10, 2.51, Advertise.YES),
        (10, 2.5, Advertise.NO),
        (4, 2, Advertise.YES),  # its successor comes now
    ],
)
def test_a_host_whose_proxy_has_an_older_certificate_is_unready_before_the_end_of_that(
    lifetime: float, left: float, advertised: Advertise
) -> None:
    """The agent's SVID is valid for long: it is the proxy that was not given its own. It still serves."""
    identity = f.IdentityFact(f.Svid(ID, "EC P-256", 0, lifetime), NOW + lifetime, received_at=NOW)
    facts = serving(identity=identity, proxy=certified_until(NOW + left))
    goals = decide(facts)
    assert (goals.advertise, goals.inbound, goals.outbound) == (advertised, RedirectGoal.ON, RedirectGoal.ON)
    assert goals.reason is (Reason.HOST_READY if advertised is Advertise.YES else Reason.PROXY_CERTIFICATE_EXPIRED)


def test_before_an_svid_is_known_no_margin_is() -> None:
    """After a restart of the agent a certificate that is short-lived, and about to be replaced, costs no Ready."""
    facts = serving(identity=f.UNKNOWN, proxy=certified_until(NOW + 1))
    assert decide(facts).advertise is Advertise.HOLD


def test_an_overdue_svid_and_its_anchors_are_remarked_on_and_leave_ready_alone() -> None:
    fact = f.IdentityFact(f.Svid(ID, "EC P-256", 0, 100), NOW + 24, received_at=NOW - 76)
    fault = Fault(Reason.TRUST_ANCHORS_PROPOSED)
    ending = dataclasses.replace(world.ANCHORED, expires_at=NOW + 86400, fault=fault)
    facts = serving(identity=fact, anchors=ending)
    assert [fault.reason for fault in identity_remarks(facts, NOW)] == [
        Reason.TRUST_ANCHORS_EXPIRING,
        Reason.TRUST_ANCHORS_PROPOSED,
        Reason.IDENTITY_OVERDUE,
    ]
    assert decide(facts).advertise is Advertise.YES
    assert identity_remarks(serving(), NOW) == []


def test_the_moment_from_which_anchors_are_announced_is_waited_for() -> None:
    facts = serving(anchors=dataclasses.replace(world.ANCHORED, expires_at=NOW + anchors.ANNOUNCED + 3))
    assert policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, LONG_AGO), facts, NOW).recheck_after == 3


def test_time_alone_is_waited_for() -> None:
    """The next moment at which the goals may change is named: here the SVID's end, five seconds early."""
    svid = f.IdentityFact(f.Svid(ID, "EC P-256", 0, 60), NOW + 30)
    facts = serving(identity=svid)
    verdict = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, LONG_AGO), facts, NOW)
    assert verdict.recheck_after == 25
    later = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, LONG_AGO), facts, NOW + 25.01)
    assert later.goals.proxy is ProxyGoal.HOLD


def test_the_order_of_ports_is_nothing() -> None:
    spec = dataclasses.replace(SPEC, ports=(8080, 9090))
    assert ports_standing(spec, serving(workload=other(ports=(9090, 8080)))) is Sure.GOOD


def test_the_end_of_the_proxys_certificate_is_waited_for_where_there_is_no_svid() -> None:
    facts = serving(identity=world.identity("silent"), proxy=certified_until(NOW + 30))
    assert policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, LONG_AGO), facts, NOW).recheck_after == 25
