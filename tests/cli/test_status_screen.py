"""The screen of `fairlead status`, letter by letter: ages, width, colours."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from agent.cli import status
from agent.cli.kit import formatting
from agent.cli.kit.formatting import Look
from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.attempts import LastAttempt
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC, phase

WALL = 1_800_000_000.0  # 2027-01-15T08:00:00Z

SERVES = """\
shop/db-1  Ready: identity, proxy, redirect and probes are as intended
  ✓ in the mesh for 3 h

    published           Ready=True (HostReady), for 3 h
  ✓ IdentityValid       spiffe://td/db, 59 min left, next rotation in 29 min,
                        anchors 0123456789ab for 100 days
  ✓ ProxyReady          pid 7, 0 connections in flight, 0 restarts, for 12 min
  ✓ ControlPlaneReached the policy controller has answered this proxy
  ✓ RedirectActive      inbound on, outbound on
  ✓ AddressesPresent    on this host
  ✓ ProbesPassing       app:
  ✓ WorkloadMatches     resourceVersion 1, 0 status writes by this agent
    API credential      spiffe, audience kubernetes, 119 s left
    Lease               renewed 4 s ago"""


def shot(facts: f.Facts, attempts: Mapping[str, LastAttempt]) -> dict[str, Any]:
    goals = policy.decide(SPEC, phase("member"), facts, NOW).goals
    found = snapshot.snapshot(SPEC, phase("member"), facts, goals, NOW)
    credential = {"kind": "spiffe", "audience": "kubernetes", "expires_at": 119.4}
    return {
        "workload": "shop/db-1",
        **found,
        "credential": credential,
        "attempts": snapshot.attempts(attempts, NOW),
    }


def told() -> f.Facts:
    """A host that has said so for a while."""
    workload = serving().workload
    assert isinstance(workload, f.WorkloadFact) and workload.seen is not None
    ready = dataclasses.replace(
        workload.seen.conditions[0], reason="HostReady", last_transition_time="2027-01-15T04:40:00Z"
    )
    proxy = dataclasses.replace(ready, type="fairlead.dev/ProxyReady", last_transition_time="2027-01-15T07:48:00Z")
    seen = dataclasses.replace(workload.seen, conditions=(ready, proxy))
    return serving(
        workload=dataclasses.replace(workload, seen=seen),
        identity=f.IdentityFact(world.SVID, NOW + 3599, received_at=NOW, rotates_at=NOW + 1799),
        anchors=f.AnchorsFact("0123456789abcdef", expires_at=NOW + 86400 * 100),
        lease=f.LeaseFact(boot_id="boot1", renewed_at=NOW - 4),
    )


def screen(facts: f.Facts, attempts: Mapping[str, LastAttempt] | None = None, **look: Any) -> str:
    lines = status.render(shot(facts, attempts or {}), Look(**{"width": 80, "now": WALL, **look}))
    return "\n".join(line.rstrip() for line in lines)


def test_a_host_that_serves() -> None:
    assert screen(told()) == SERVES


def test_the_other_slots_proxy_is_shown_while_it_runs() -> None:
    """And the connections that one which ends still carries."""
    redirect = f.RedirectFact(f.Level.ON, f.Level.ON, slot=Slot.STANDBY)
    ready = world.proxy("ready", flying=3)
    assert isinstance(ready, f.ProxyFact)
    ending = dataclasses.replace(ready, state=f.ProxyState.STOPPING)
    facts = dataclasses.replace(told(), redirect=redirect, standby=told().proxy, proxy=ending)
    text = screen(facts)
    assert "ProxyReady          pid 7, in the second slot, 0 connections in flight" in text
    assert "    main proxy          pid 7, stopping, 3 connections left\n" in text
    gone = screen(dataclasses.replace(facts, proxy=world.proxy("stopped")))
    assert "main proxy" not in gone and "the policy controller has answered this proxy" in gone
    kept = screen(dataclasses.replace(told(), standby=world.proxy("ready")))
    assert "    standby             pid 7, ready\n" in kept


LOOKED = {
    "RedirectActive": LastAttempt(NOW - 4, NOW + 26),
    "probe app": LastAttempt(NOW - 1, NOW + 9),
    "probe db": LastAttempt(NOW - 8, NOW + 2),
    "Lease": LastAttempt(NOW - 4, NOW + 6),
}


def test_each_line_says_when_it_was_looked_at_and_when_next() -> None:
    text = screen(told(), LOOKED)
    assert "inbound on, outbound on, looked 4 s ago, next look in 26 s ✓" in " ".join(text.split())
    assert "ProbesPassing       app: , looked 1 s ago, next look in 2 s\n" in text
    assert "Lease               renewed 4 s ago, next renewal in 6 s" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_fails_says_when_it_is_tried_again() -> None:
    """Also where what is known holds on, as with an API server that is away."""
    tried = {
        name: LastAttempt(NOW - 3, NOW + 12, failed=True) for name in ("IdentityValid", "WorkloadMatches", "Ready")
    }
    tried |= {"probe app": LastAttempt(NOW - 1, NOW + 9), "probe db": LastAttempt(NOW - 2, NOW + 150, failed=True)}
    tried["Lease"] = LastAttempt(NOW - 200, None, failed=True)
    text = screen(told(), tried)
    flat = " ".join(text.split())
    assert "anchors 0123456789ab for 100 days, tried 3 s ago, next try in 12 s ✓" in flat
    assert "Ready=True (HostReady), for 3 h, tried 3 s ago, next try in 12 s ✓" in flat
    assert "status writes by this agent, tried 3 s ago, next try in 12 s API" in flat
    assert "app: , tried 1 s ago, next try in 9 s ✓" in flat
    assert flat.endswith("Lease renewed 4 s ago, tried 3 min ago")
    assert max(map(len, text.splitlines())) <= 80


def test_a_time_that_is_past_is_not_shown_as_the_next_one() -> None:
    late = {"RedirectActive": LastAttempt(NOW - 40, NOW - 10)}
    assert "outbound on, looked 40 s ago\n" in screen(told(), late)


def test_before_the_first_renewal_the_lease_says_when_it_is_tried() -> None:
    facts = dataclasses.replace(told(), lease=f.LeaseFact(fault=Fault(Reason.LEASE_MISSING)))
    text = screen(facts, {"Lease": LastAttempt(NOW - 2, NOW + 5, failed=True)})
    assert "Lease               not renewed yet, tried 2 s ago, next try in 5 s\n" in text


def test_the_credential_says_when_its_source_is_asked_again() -> None:
    kinds = {"kind": "spiffe", "audience": "kubernetes"}
    assert status.credential_line({**kinds, "retry_at": 12.3}).endswith("none received yet, next try in 12 s")
    assert status.credential_line({**kinds, "expires_at": 60.0, "retry_at": -1.0}).endswith(", 60 s left")


def test_json_has_seconds_from_now() -> None:
    found = shot(told(), {"Lease": LastAttempt(NOW - 2.04, NOW + 5, failed=True), "Ready": LastAttempt(NOW)})[
        "attempts"
    ]
    assert found["Lease"] == {"last_at": -2.0, "next_at": 5.0, "failed": True}
    assert found["Ready"] == {"last_at": 0.0, "next_at": None, "failed": False}


def test_what_differs_from_the_mesh_has_no_age() -> None:
    """The ExternalWorkload still says True: since when it is False, it does not know."""
    text = screen(dataclasses.replace(told(), proxy=world.proxy("stopped")))
    assert "  ✗ ProxyReady          ProxyStopped\n" in text


def test_a_problem_fits_and_no_word_is_broken() -> None:
    detail = "no lease db-1 " + "in the namespace shop " * 6 + "x" * 90
    text = screen(serving(lease=f.LeaseFact(fault=Fault(Reason.LEASE_MISSING, detail))))
    long = [line.strip() for line in text.splitlines() if len(line) > 80]
    assert long == ["x" * 90 + ")"]
    assert "\n    → create a Lease" in text


def test_colours_are_added_to_the_same_letters() -> None:
    text = screen(told(), colours=True)
    assert text.count("\033[32m✓\033[0m") == 8
    assert text.replace("\033[32m", "").replace("\033[0m", "") == SERVES


def test_a_pipe_gets_whole_lines_without_colours() -> None:
    text = screen(told(), width=0)
    assert max(map(len, text.splitlines())) > 80 and "\033" not in text


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (False, {}, Look(0, False, 5.0)),
        (True, {"COLUMNS": "100"}, Look(100, True, 5.0)),
        (True, {"COLUMNS": "100", "NO_COLOR": "1"}, Look(100, False, 5.0)),
        (True, {"COLUMNS": "80", "TERM": "dumb"}, Look(80, False, 5.0)),
    ],
)
def test_the_terminal_decides(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], expected: Look
) -> None:
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert formatting.of_terminal(5.0) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (119.4, "119 s"), (120, "2 min"), (3599, "59 min"), (7200, "2 h"), (172800, "2 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize("stamp", ["", "then", "2030-01-01T00:00:00Z"])
def test_a_time_that_is_none_or_ahead_has_no_age(stamp: str) -> None:
    assert formatting.age(stamp, WALL) == ""
