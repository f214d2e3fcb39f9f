"""Judgements about identity: each in a situation that passes and in one that fails."""

from dataclasses import replace

import pytest

from agent.core.doctor import identity
from agent.core.doctor.check import Outcome, Result
from agent.core.doctor.identity import Anchors, Answer, Clock, Way
from agent.core.reasons import Fault, Reason

WAY = Way("/run/spire/api.sock", None, {})
CLOCK = Clock(0.0, "", [None])
ANSWER = Answer("fairlead-proxy", 990, "spiffe://d/db-1", None)
SKEWED = Fault(Reason.CLOCK_SKEWED, "spiffe://d/db-1 is valid only from 2026-01-01T00:00:00+00:00")
DENIED = Fault(Reason.WORKLOAD_API_DENIED, "no identity issued")
CASES = {
    "way": (identity.socket_reached(WAY), Result.OK, "/run/spire/api.sock"),
    "way-absent": (
        identity.socket_reached(replace(WAY, fault=Fault(Reason.WORKLOAD_API_ABSENT))),
        Result.FAIL,
        "WorkloadApiAbsent",
    ),
    "way-closed": (
        identity.socket_reached(replace(WAY, closed={"fairlead-proxy": "/run/spire"})),
        Result.FAIL,
        "/run/spire keeps fairlead-proxy from /run/spire/api.sock",
    ),
    "clock": (identity.clock(CLOCK), Result.OK, "within 5 s"),
    "clock-behind": (identity.clock(replace(CLOCK, ahead=600.0)), Result.FAIL, "600 s behind the API server's"),
    "clock-ahead": (identity.clock(replace(CLOCK, ahead=-90.0)), Result.FAIL, "90 s ahead of the API server's"),
    "clock-drifts": (identity.clock(replace(CLOCK, ahead=10.0)), Result.WARN, "10 s behind"),
    "clock-unread": (identity.clock(Clock(None, "timed out", [None])), Result.UNKNOWN, "timed out"),
    "clock-by-svid": (identity.clock(Clock(None, "timed out", [SKEWED])), Result.FAIL, "valid only from"),
    "clock-of-spire": (identity.clock(replace(CLOCK, svids=[SKEWED])), Result.FAIL, "and yet spiffe://d/db-1"),
    "svid": (identity.svid(ANSWER), Result.OK, "spiffe://d/db-1 for fairlead-proxy"),
    "svid-denied": (
        identity.svid(replace(ANSWER, fault=DENIED)),
        Result.FAIL,
        "asked as fairlead-proxy (uid 990)",
    ),
    "svid-by-unit": (
        identity.svid(replace(ANSWER, fault=DENIED, certified="the running proxy has a certificate")),
        Result.OK,
        "as with entries by unit",
    ),
    "svid-untrusted": (
        identity.svid(replace(ANSWER, fault=Fault(Reason.IDENTITY_UNTRUSTED))),
        Result.OK,
        "spiffe://d/db-1",
    ),
    "svid-rsa": (
        identity.svid(replace(ANSWER, fault=Fault(Reason.IDENTITY_KEY_UNSUITABLE, "RSA"))),
        Result.FAIL,
        "IdentityKeyUnsuitable",
    ),
    "anchors": (identity.anchors(Anchors("/a.pem", None, 1e8)), Result.OK, "/a.pem"),
    "anchors-end": (identity.anchors(Anchors("/a.pem", None, 86400.0)), Result.WARN, "1 days left"),
    "anchors-absent": (
        identity.anchors(Anchors("/a.pem", Fault(Reason.TRUST_ANCHORS_UNUSABLE))),
        Result.FAIL,
        "TrustAnchorsUnusable",
    ),
    "trust": (identity.trusted(None), Result.OK, "cover"),
    "trust-not": (identity.trusted(Fault(Reason.IDENTITY_UNTRUSTED, "spiffe://d/db-1")), Result.FAIL, "chain"),
    "trust-unknown": (identity.trusted(DENIED), Result.UNKNOWN, "no SVID"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_judgement_names_what_it_saw(name: str) -> None:
    outcome, result, words = CASES[name]
    assert outcome.result is result and words in outcome.why


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1] in (Result.FAIL, Result.WARN)])
def test_what_is_wrong_has_a_fix(name: str) -> None:
    outcome: Outcome = CASES[name][0]
    assert outcome.fix


def test_the_missing_entry_is_given_as_a_command() -> None:
    fix = identity.svid(replace(ANSWER, fault=DENIED)).fix
    assert "spire-server entry create" in fix
    assert "-spiffeID spiffe://d/db-1 -selector unix:uid:990" in fix
