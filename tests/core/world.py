"""A small world around the decision: what is true, what the agent knows of it, and every single next step.

Truth and knowledge are tuples of short words, so that states can be counted. Time is three flags: whether the
hold window, the settling time and the drain limit are over. What a shutdown asks is a phase of its own here, which
a walk starts in: it ends with the boot.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

from agent.core import conditions, policy
from agent.core import facts as f
from agent.core.failure import Failure
from agent.core.goals import Advertise, Goals, ProxyGoal, RedirectGoal
from agent.core.health import Spec
from agent.core.reasons import Fault, Reason

NOW = 10_000.0
LONG_AGO, JUST_NOW, FAR = NOW - 5_000, NOW - 1, NOW + 5_000
ID = "spiffe://td/db"
SPEC = Spec(ID, "db.sni", ("10.9.0.2",), (8080,), boot_id="boot1")
SVID = f.Svid(ID, "EC P-256", 0, 0, chain=(b"leaf",))
PRESENT = f.AddressesFact(())  # this host has its addresses
ANCHORED = f.AnchorsFact("digest")  # the anchors in force cover the SVID


class Truth(NamedTuple):
    boot: int = 1  # 1 or 2: one reboot at most
    controller: bool = True  # the policy controller can be reached
    answered: bool = False  # and has answered this process of the proxy
    svid: str = "usable"  # usable | expired | silent
    proxy: str = "stopped"  # stopped | starting | ready | expired
    inbound: str = "off"
    outbound: str = "off"
    app: str = "pass"  # pass | fail
    mesh: str = "False"  # the Ready condition at the API server
    listed: bool = False  # as ready in an EndpointSlice, which follows `mesh` in its own time
    lease: int = 0  # the boot id in the Lease
    flying: int = 0  # connections in flight through the proxy
    phase: str = "member"
    api: bool = True  # the API server can be reached
    late: bool = False
    once: bool = False  # root's record says that it has been Ready
    budget: int = 2  # disturbances that may still come


class Known(NamedTuple):
    """None is UNKNOWN. `settled`: no EndpointSlice lists the host, and its peers have had time to read that."""

    svid: str | None = None
    proxy: str | None = None
    inbound: str | None = None
    outbound: str | None = None
    app: str | None = None
    mesh: str | None = None
    lease: int | None = None
    flying: int | None = None
    once: bool | None = None
    answered: bool | None = None
    settled: bool = False
    window_over: bool = False


class State(NamedTuple):
    truth: Truth
    known: Known


class Step(NamedTuple):
    name: str
    state: State


# knowledge → facts → goals -------------------------------------------------------------------------


def settled(facts: f.Facts) -> f.Facts:
    """A host on which nothing was changed, as far as nothing else is said."""
    return dataclasses.replace(facts, replacement=None, configuration=None, folders=None)


def facts(known: Known, boot: int) -> f.Facts:
    everything = None not in known[:7]
    ready_at = (LONG_AGO if known.window_over else JUST_NOW) if everything or known.window_over else None
    found = f.Facts(
        identity=identity(known.svid),
        anchors=ANCHORED,
        addresses=PRESENT,
        proxy=proxy(known.proxy, known.flying, known.answered),
        redirect=redirect(known.inbound, known.outbound),
        probes=probes(known.app),
        workload=workload(known.mesh, known.settled),
        lease=lease(known.lease),
        agent=f.UNKNOWN if ready_at is None else f.AgentFact(ready_at),
        slices=slices(known.settled),
        ready_once=f.UNKNOWN if known.once is None else f.ReadyOnceFact(known.once),
    )
    return settled(found)


def identity(word: str | None) -> f.Maybe[f.IdentityFact]:
    match word:
        case None:
            return f.UNKNOWN
        case "usable":
            return f.IdentityFact(SVID, FAR)
        case "expired":
            return f.IdentityFact(SVID, JUST_NOW)
        case "silent":
            return f.IdentityFact(fault=Fault(Reason.WORKLOAD_API_ABSENT))
        case _:
            return f.IdentityFact(fault=Fault(Reason.IDENTITY_UNEXPECTED))


def proxy(word: str | None, flying: int | None = 0, answered: bool | None = True) -> f.Maybe[f.ProxyFact]:
    if word is None:
        return f.UNKNOWN
    alive = word != "stopped"
    expires = {"ready": FAR, "expired": JUST_NOW}.get(word)
    return f.ProxyFact(
        state=f.ProxyState("ready" if word == "expired" else word),
        process=f.Process(7, 7, "boot1") if alive else None,
        certificate_expires_at=expires,
        in_flight=flying if alive else None,
        counted_at=NOW if alive else None,
        control=f.Control(answered) if alive and answered is not None else None,
    )


def redirect(inbound: str | None, outbound: str | None) -> f.Maybe[f.RedirectFact]:
    if inbound is None or outbound is None:
        return f.UNKNOWN
    if inbound == "fault":
        return f.RedirectFact(fault=Fault(Reason.REDIRECT_FORBIDDEN))
    return f.RedirectFact(f.Level(inbound), f.Level(outbound))


def probes(word: str | None) -> f.ProbesFact:
    passing: f.Maybe[bool] = f.UNKNOWN if word is None else word == "pass"
    return f.ProbesFact((f.ProbeFact("app", passing),))


def workload(word: str | None, settled: bool = False, identity: str = ID) -> f.Maybe[f.WorkloadFact]:
    match word:
        case None:
            return f.UNKNOWN
        case "missing":
            return f.WorkloadFact(fault=Fault(Reason.WORKLOAD_MISSING))
        case "away":
            return f.WorkloadFact(fault=Fault(Reason.API_UNREACHABLE))
        case _:
            ready = f.Condition("Ready", word, "Because", "", "then")
            seen = f.Workload("uid", "1", identity, "db.sni", ("10.9.0.2",), (8080,), (ready,))
            since = None if word == "True" else (LONG_AGO if settled else JUST_NOW)
            return f.WorkloadFact(seen, since)


def slices(settled: bool) -> f.SlicesFact:
    return f.SlicesFact(listed=not settled, unlisted_since=LONG_AGO if settled else None)


def lease(boot: int | None) -> f.Maybe[f.LeaseFact]:
    return f.UNKNOWN if boot is None else f.LeaseFact("" if boot == 0 else f"boot{boot}")


def phase(word: str, late: bool = False) -> f.Phase:
    return f.Phase(f.PhaseKind(word), LONG_AGO if late else JUST_NOW)


@functools.cache
def goals(known: Known, boot: int, phase_word: str, late: bool) -> Goals:
    spec = _spec(boot)
    return policy.decide(spec, phase(phase_word, late), facts(known, boot), NOW).goals


@functools.cache
def _spec(boot: int) -> Spec:
    boot_id, by_default = f"boot{boot}", Failure.CLOSED_AFTER_READY
    return Spec(ID, "db.sni", ("10.9.0.2",), (8080,), boot_id, inbound_failure=by_default)


# steps ---------------------------------------------------------------------------------------------


def steps(state: State) -> Iterator[Step]:
    yield from observations(state)
    yield from actions(state)
    yield from time_passes(state)
    yield from disturbances(state)


def observations(state: State) -> Iterator[Step]:
    """The agent learns one fact. A redirect is read in both directions at once; root's record comes with the
    probe's verdict, which keeps the world small."""
    truth, known = state
    news: list[tuple[str, dict[str, object]]] = [
        ("identity", {"svid": truth.svid}),
        ("proxy", {"proxy": truth.proxy, "flying": truth.flying, "answered": truth.answered}),
        ("redirect", {"inbound": truth.inbound, "outbound": truth.outbound}),
        ("probe", {"app": truth.app, "once": truth.once}),
        *_cluster(state),
    ]
    for name, changes in news:
        learned = known._replace(**changes)  # type: ignore[arg-type]
        if learned != known:
            yield Step(f"observe {name}", State(truth, learned))


def _cluster(state: State) -> list[tuple[str, dict[str, object]]]:
    """What was seen stays seen while the API server is away."""
    truth, known = state
    if not truth.api:
        return [("API server away", {"mesh": known.mesh or "away"})]
    settled = known.settled and truth.mesh == known.mesh
    return [("workload", {"mesh": truth.mesh, "settled": settled}), ("lease", {"lease": truth.lease})]


def actions(state: State) -> Iterator[Step]:
    """One actuator or sink does one thing, by goals that were decided on what is known; it knows at once
    what it did."""
    truth, known = state
    wanted = goals(known, truth.boot, truth.phase, truth.late)
    yield from _proxy_acts(state, wanted)
    yield from _redirect_acts(state, wanted)
    yield from _status_acts(state, wanted)


def _proxy_acts(state: State, wanted: Goals) -> Iterator[Step]:
    truth, known = state
    if wanted.proxy is ProxyGoal.RUNNING and known.proxy == "stopped" and truth.proxy == "stopped":
        begun = known._replace(proxy="starting", answered=False)
        yield Step("start proxy", State(truth._replace(proxy="starting", answered=False), begun))
    if wanted.proxy is ProxyGoal.STOPPED and known.proxy not in (None, "stopped") and truth.proxy != "stopped":
        gone = known._replace(proxy="stopped", flying=0, answered=False)
        yield Step("stop proxy", State(truth._replace(proxy="stopped", flying=0, answered=False), gone))


def _redirect_acts(state: State, wanted: Goals) -> Iterator[Step]:
    truth, known = state
    if known.inbound is None or known.outbound is None:
        return
    inbound = known.inbound if wanted.inbound is RedirectGoal.HOLD else wanted.inbound.value
    outbound = known.outbound if wanted.outbound is RedirectGoal.HOLD else wanted.outbound.value
    if (inbound, outbound) == (known.inbound, known.outbound):
        return
    if "off" in (inbound, outbound) and inbound != outbound:  # one table: it is there or it is not
        inbound, outbound = (("released" if level == "off" else level) for level in (inbound, outbound))
    after = truth._replace(inbound=inbound, outbound=outbound)
    yield Step(f"redirect {inbound} {outbound}", State(after, known._replace(inbound=inbound, outbound=outbound)))


def _status_acts(state: State, wanted: Goals) -> Iterator[Step]:
    truth, known = state
    if not truth.api:
        return
    if wanted.advertise is not Advertise.HOLD and known.mesh is not None:
        status = "True" if wanted.advertise is Advertise.YES else "False"
        if known.mesh != status and known.mesh == truth.mesh:  # else 409
            after = truth._replace(mesh=status)
            yield Step(f"write {status}", State(after, known._replace(mesh=status, settled=False)))
    if known.once is False and wanted.advertise is Advertise.YES and known.mesh == truth.mesh == "True":
        yield Step("record ready", State(truth._replace(once=True), known._replace(once=True)))
    vouched = conditions.vouched_boot(_spec(truth.boot), facts(known, truth.boot), wanted)
    if known.lease is not None and vouched is not None and truth.lease != truth.boot:
        yield Step("renew lease", State(truth._replace(lease=truth.boot), known._replace(lease=truth.boot)))


def time_passes(state: State) -> Iterator[Step]:
    truth, known = state
    if truth.proxy == "starting" and truth.svid == "usable":
        yield Step("proxy becomes ready", State(truth._replace(proxy="ready"), known))
    if truth.proxy == "expired" and truth.svid == "usable":
        yield Step("proxy renews", State(truth._replace(proxy="ready"), known))
    if truth.proxy == "ready" and truth.controller and not truth.answered:
        yield Step("policy controller answers", State(truth._replace(answered=True), known))
    if truth.listed is not (truth.mesh == "True"):
        yield Step("slices follow", State(truth._replace(listed=not truth.listed), known))
    if known.mesh == "False" and not known.settled and not truth.listed and truth.api:
        yield Step("settled", State(truth, known._replace(settled=True)))
    if truth.flying:
        yield Step("connection ends", State(truth._replace(flying=0), known))


def disturbances(state: State) -> Iterator[Step]:
    """What befalls the host, an agent's crash among it; each costs from the budget."""
    truth, known = state
    if truth.budget == 0:
        return
    less = truth._replace(budget=truth.budget - 1)
    yield Step("agent crashes", State(less._replace(late=False), Known()))  # which restarts the limit
    yield Step("application turns", State(less._replace(app="fail" if truth.app == "pass" else "pass"), known))
    if truth.proxy != "stopped":
        yield Step("proxy dies", State(less._replace(proxy="stopped", flying=0, answered=False), known))
        yield Step("connection opens", State(less._replace(flying=1), known))
    if truth.svid == "usable":
        over = "expired" if truth.proxy == "ready" else truth.proxy  # the proxy has its SVID from there too
        yield Step("svid runs out", State(less._replace(svid="expired", proxy=over), known))
        yield Step("source goes silent", State(less._replace(svid="silent"), known))
    if not known.window_over and None not in (known.svid, known.proxy, known.inbound, known.mesh, known.lease):
        yield Step("hold window ends", State(less, known._replace(window_over=True)))
    if truth.boot == 1:
        fresh = {"boot": 2, "proxy": "stopped", "inbound": "off", "outbound": "off", "flying": 0}
        after = less._replace(**fresh, late=False, answered=False)  # type: ignore[arg-type]
        yield Step("reboot", State(after, Known()))
    away = less._replace(api=not truth.api)
    yield Step("API server goes" if truth.api else "API server returns", State(away, known))
    moved = less._replace(controller=not truth.controller)
    yield Step("controller goes" if truth.controller else "controller returns", State(moved, known))
    if truth.phase == "member":
        yield Step("leave", State(less._replace(phase="left", once=False), known._replace(once=False)))
    elif truth.phase == "left":
        yield Step("join", State(less._replace(phase="member", late=False), known))
    if truth.phase in ("left", "shutting-down") and not truth.late:
        yield Step("drain limit passes", State(less._replace(late=True), known))
