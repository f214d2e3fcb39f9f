"""The decision against every state of a small world: each single next step, a crash or a reboot after any.

The walk is exhaustive for the number of disturbances in `Truth.budget`.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pytest

from agent.core.goals import Advertise
from tests.core.world import Known, State, Step, Truth, goals, steps

OPEN, CLOSED = ("off", "released"), ("block", "on")

HOME = State(Truth(), Known())
SERVING = State(
    Truth(answered=True, proxy="ready", inbound="on", outbound="on", mesh="True", listed=True, lease=1, once=True),
    Known("usable", "ready", "on", "on", "pass", "True", 1, 0, once=True, answered=True),
)
# An operator has taken it out, and an agent comes that knows nothing.
OUT = State(Truth(phase="left", lease=1), Known())


def walk(
    start: Iterable[State], follow: Callable[[Step], bool] = lambda step: True
) -> Iterable[tuple[State, Step]]:
    """Every transition that can be reached from `start` over steps that `follow` admits."""
    queue = deque(start)
    seen = set(queue)
    while queue:
        state = queue.popleft()
        for step in steps(state):
            if not follow(step):
                continue
            yield state, step
            if step.state not in seen:
                seen.add(step.state)
                queue.append(step.state)


@functools.cache
def transitions() -> tuple[tuple[State, Step], ...]:
    """From an empty host and from one that serves, with a connection in flight."""
    busy = SERVING._replace(truth=SERVING.truth._replace(flying=1), known=SERVING.known._replace(flying=1))
    one = HOME._replace(truth=HOME.truth._replace(budget=1))
    return tuple(walk([one, busy, OUT, *(_going_down(state) for state in (HOME, OUT, SERVING))]))


def _going_down(state: State) -> State:
    return state._replace(truth=state.truth._replace(phase="shutting-down", budget=1))


def named(prefix: str) -> list[tuple[State, Step]]:
    found = [(state, step) for state, step in transitions() if step.name.startswith(prefix)]
    assert found, f"the world never does {prefix!r}"
    return found


def test_the_world_is_large_enough_to_mean_something() -> None:
    assert len(transitions()) > 20_000


def test_ready_is_written_only_when_everything_is_known_good() -> None:
    for state, _ in named("write True"):
        known = state.known
        # With a silent source, or one whose last word has expired, the proxy's own certificate is the proof.
        assert known.svid in ("usable", "silent", "expired") and known.proxy == "ready"
        assert (known.inbound, known.outbound, known.app) == ("on", "on", "pass")
        assert known.answered
        assert state.truth.phase == "member"


def test_redirect_is_on_only_after_the_proxy_was_proved_ready() -> None:
    for state, step in named("redirect"):
        turned_on = step.state.truth.inbound == "on" != state.truth.inbound
        assert not turned_on or state.known.proxy == "ready"
        turned_on = step.state.truth.outbound == "on" != state.truth.outbound
        assert not turned_on or state.known.proxy == "ready"


def test_outbound_is_on_only_after_the_policy_controller_answered_this_process() -> None:
    for state, step, before, after in changes():
        both = levels(state)[1], levels(step.state)[1]
        if (before, after) == both and after == "on":
            assert state.known.answered, (state, step.name)


def test_a_control_plane_that_goes_takes_away_nothing() -> None:
    """What was answered once stands, for this process of the proxy."""
    calm = [
        s._replace(truth=s.truth._replace(controller=False, budget=0))
        for s in (SERVING, SERVING._replace(known=Known()))
    ]
    for state, step in walk(calm):
        assert step.state.truth.mesh == "True", step.name
        assert levels(step.state) == ("on", "on"), (state, step.name)


def test_proxy_starts_only_with_a_usable_svid() -> None:
    for state, _ in named("start proxy"):
        assert state.known.svid == "usable"


def test_nothing_is_done_about_what_is_unknown() -> None:
    """The proxy is stopped, the redirect changed and Ready written only by what is known of each."""
    for state, step in transitions():
        if step.name.startswith(("start", "stop")):
            assert state.known.proxy is not None
        if step.name.startswith("redirect"):
            assert state.known.inbound is not None
            keeps = state.known.proxy is None
            assert not keeps or state.truth.inbound == step.state.truth.inbound
        if step.name.startswith("write"):
            assert state.known.mesh is not None


def levels(state: State) -> tuple[str, str]:
    return state.truth.inbound, state.truth.outbound


def changes() -> Iterator[tuple[State, Step, str, str]]:
    """Each change of a direction's level that the agent makes."""
    for state, step in named("redirect"):
        for before, after in zip(levels(state), levels(step.state), strict=True):
            if before != after:
                yield state, step, before, after


def test_in_left_nothing_is_closed_and_what_is_off_stays_off() -> None:
    found = [change for change in changes() if change[0].truth.phase == "left"]
    assert found
    for state, step, before, after in found:
        assert after in OPEN, (state, step.name)
        assert before != "off", (state, step.name)


def test_a_shutdown_closes_nothing_that_is_open() -> None:
    found = [change for change in changes() if change[0].truth.phase == "shutting-down"]
    assert found
    for state, step, before, after in found:
        assert before in CLOSED or after in OPEN, (state, step.name)
        assert before != "off", (state, step.name)


def test_a_host_that_has_left_is_left_alone() -> None:
    """Whatever is known or not known, and in whatever order it is learned, the API server there or away."""
    calm = OUT._replace(truth=OUT.truth._replace(budget=0))
    starts = [calm, calm._replace(truth=calm.truth._replace(api=False))]
    followed = list(walk(starts))
    assert followed
    for state, step in followed:
        assert step.state.truth == state.truth, step.name


def test_a_direction_is_closed_only_on_a_known_fact_of_the_proxy() -> None:
    """ON by a proxy proved ready, BLOCK by a known fault, and neither while the proxy is unknown."""
    for state, step, before, after in changes():
        if before in OPEN and after in CLOSED:
            assert state.truth.phase == "member", (state, step.name)
            assert state.known.proxy is not None, (state, step.name)
            assert (after == "on") is (state.known.proxy == "ready"), (state, step.name)


def test_a_closed_port_opens_again_only_by_leaving_or_before_the_first_ready() -> None:
    for state, step in transitions():
        before, after = state.truth, step.state.truth
        if before.inbound in CLOSED and after.boot == before.boot and after.inbound in OPEN:
            if state.known.once is False and before.phase != "left":
                assert not before.once and state.known.proxy != "ready", (state, step.name)
                continue
            assert before.phase == "left", step.name
            serves = before.inbound == "on" and state.known.proxy == "ready"
            drained = state.known.settled and state.known.flying == 0
            assert not serves or before.late or drained, (state, step.name)


def test_before_the_first_ready_nothing_is_blocked() -> None:
    """Nor while it is not known whether there was one."""
    found = [change for change in changes() if change[3] == "block"]
    assert found
    for state, step, _, _ in found:
        assert state.truth.once and state.known.once, (state, step.name)


def test_ready_is_recorded_only_of_a_host_that_is_ready() -> None:
    for state, _ in named("record ready"):
        known = state.known
        assert (known.proxy, known.inbound, known.app, known.mesh) == ("ready", "on", "pass", "True")
        assert state.truth.phase == "member"


def test_leaving_goes_in_order() -> None:
    for state, step in transitions():
        truth, known = state
        if truth.phase != "left":
            continue
        if step.name == "stop proxy":
            assert levels(state)[0] in OPEN and levels(state)[1] in OPEN
        if step.name == "stop proxy" and not truth.late:
            assert known.mesh != "True" and known.settled and not truth.listed
            assert known.flying == 0
        if step.name.startswith("redirect off"):
            assert known.proxy == "stopped"
        if step.name.startswith("redirect") and step.state.truth.outbound == "released" != truth.outbound:
            assert truth.late or known.proxy != "ready" or (known.mesh != "True" and known.flying == 0)


def test_leave_ends_from_everywhere() -> None:
    """From every state: once the disturbances are over, a host in the phase LEFT leaves the mesh."""
    left = {s.state for _, s in transitions() if s.name == "leave"}
    calm = [s._replace(truth=s.truth._replace(budget=0, late=True, svid="usable", api=True)) for s in left]
    for state in calm:
        end = settle(state)
        assert (end.truth.mesh, end.truth.proxy, end.truth.inbound, end.truth.outbound) == (
            "False",
            "stopped",
            "off",
            "off",
        )


def test_a_member_becomes_ready_from_everywhere() -> None:
    """Liveness: whatever came before, a healthy host that is left in peace serves."""
    for state in {s.state for _, s in transitions() if s.state.truth.phase == "member"}:
        well = state.truth._replace(budget=0, app="pass", svid="usable", api=True, controller=True)
        end = settle(state._replace(truth=well))
        assert (end.truth.mesh, end.truth.proxy, end.truth.inbound) == ("True", "ready", "on"), end


@functools.cache
def settle(state: State) -> State:
    """Where first steps lead when none is left. A circle of them would be a RecursionError."""
    step = next(iter(steps(state)), None)
    return state if step is None else settle(step.state)


def test_a_restart_on_the_same_boot_never_flaps_ready() -> None:
    """The agent dies and comes back, at any moment and in any order of learning; the host is well."""
    allowed = ("observe", "redirect", "write", "mesh", "slices", "renew", "start", "stop", "agent crashes")
    for state, step in walk([SERVING], lambda s: s.name.startswith(allowed)):
        assert step.state.truth.mesh == "True", (state, step.name)
        assert (step.state.truth.proxy, step.state.truth.inbound) == ("ready", "on")


def test_an_agents_death_changes_nothing() -> None:
    for state, step in named("agent crashes"):
        assert step.state.truth == state.truth._replace(budget=state.truth.budget - 1, late=False)


def test_a_new_boot_never_inherits_ready() -> None:
    """Once the Lease is read, a Ready of another boot is not left standing on unknown facts."""
    for _, step in transitions():
        truth, known = step.state
        if known.lease not in (None, 0, truth.boot) and truth.phase == "member":
            assert goals(known, truth.boot, truth.phase, truth.late).advertise is not Advertise.HOLD


def test_the_lease_vouches_only_for_what_was_told_on_its_boot() -> None:
    """Else an agent that dies right after a reboot would take the old Ready=True for one of its own."""
    for state, _ in named("renew lease"):
        known = state.known
        if state.truth.mesh == "True":
            assert (known.proxy, known.inbound, known.app, known.mesh) == ("ready", "on", "pass", "True")


@pytest.mark.parametrize(
    "name",
    [
        *("reboot", "leave", "join", "proxy dies", "svid runs out", "hold window ends"),
        *("API server goes", "drain limit", "controller goes", "record ready"),
    ],
)
def test_the_world_reaches(name: str) -> None:
    assert named(name)
