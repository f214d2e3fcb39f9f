import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.facts import Svid
from agent.core.identity import choose, margin, usable, validity
from agent.core.reasons import Fault, Reason

MINE = "spiffe://example.org/vm-1"
OTHER = "spiffe://example.org/vm-2"
NOW = 1_800_000_000.0
FAR = 10_000.0


def svid(spiffe_id: str = MINE, key_type: str = "EC P-256", since: float = -10.0, until: float = 60.0) -> Svid:
    """`since`, `until`: seconds from NOW."""
    return Svid(spiffe_id, key_type, NOW + since, NOW + until)


GOOD, OLDER = svid(), svid(since=-20.0, until=50.0)
RSA = svid(key_type="RSA 2048")
STRANGE = svid(OTHER)


@pytest.mark.parametrize(
    ("svids", "expected"),
    [
        ([GOOD], GOOD),
        ([STRANGE, GOOD], GOOD),
        ([GOOD, STRANGE], GOOD),
        ([OLDER, GOOD], GOOD),
        ([GOOD, OLDER], OLDER),  # the proxy keeps the last of one ID
        ([RSA, GOOD], GOOD),
        ([GOOD, RSA], Reason.IDENTITY_KEY_UNSUITABLE),
        ([RSA], Reason.IDENTITY_KEY_UNSUITABLE),
        ([svid(key_type="EC P-384")], Reason.IDENTITY_KEY_UNSUITABLE),
        ([STRANGE], Reason.IDENTITY_UNEXPECTED),
        ([svid(MINE + "/")], Reason.IDENTITY_UNEXPECTED),
        ([svid(MINE.upper())], Reason.IDENTITY_UNEXPECTED),
        ([], Reason.IDENTITY_UNEXPECTED),
    ],
)
def test_choice(svids: list[Svid], expected: Svid | Reason) -> None:
    found = choose(svids, MINE)
    assert (found.reason if isinstance(found, Fault) else found) == expected


def test_an_unexpected_identity_names_those_that_were_seen() -> None:
    found = choose([STRANGE, svid("spiffe://example.org/a"), STRANGE], MINE)
    assert isinstance(found, Fault)
    assert found.detail == f"{MINE} is not among the SVIDs: spiffe://example.org/a, {OTHER}"


def test_no_svid_at_all_is_said() -> None:
    assert choose([], MINE) == Fault(Reason.IDENTITY_UNEXPECTED, f"{MINE} is not among the SVIDs: none")


def test_an_unsuitable_key_is_named() -> None:
    found = choose([RSA], MINE)
    assert isinstance(found, Fault)
    assert found.detail == f"{MINE} has a key of type RSA 2048"


@pytest.mark.parametrize(
    ("since", "until", "left"),
    [
        (-10.0, 60.0, 60.0),
        (0.0, 1.0, 1.0),
        (60.0, 120.0, 60.0),  # this clock is behind: only the lifetime is sure
        (60.1, 120.0, None),
        (FAR, 2 * FAR, None),
        (-70.0, 0.0, None),
        (-2 * FAR, -FAR, None),
    ],
)
def test_validity(since: float, until: float, left: float | None) -> None:
    found = validity(svid(since=since, until=until), NOW)
    assert (None if isinstance(found, Fault) else found) == left


@pytest.mark.parametrize(
    ("since", "until", "detail"),
    [
        (100.0, 200.0, f"{MINE} is valid only from 2027-01-15T08:01:40+00:00"),
        (-200.0, -100.0, f"{MINE} was valid until 2027-01-15T07:58:20+00:00"),
    ],
)
def test_a_skewed_clock_is_told_apart_from_one_moment_to_the_next_the_same(
    since: float, until: float, detail: str
) -> None:
    one = svid(since=since, until=until)
    assert validity(one, NOW) == validity(one, NOW + 1) == Fault(Reason.CLOCK_SKEWED, detail)


offsets = st.floats(-FAR, FAR)


@given(offsets, offsets)
def test_what_is_left_is_positive_and_never_more_than_a_lifetime(since: float, until: float) -> None:
    one = svid(since=min(since, until), until=max(since, until))
    left = validity(one, NOW)
    assert isinstance(left, Fault) or 0 < left <= one.not_after - one.not_before


svids = st.lists(
    st.builds(svid, st.sampled_from([MINE, OTHER]), st.sampled_from(["EC P-256", "RSA 2048"]), offsets, offsets),
    max_size=4,
)


@given(svids)
def test_what_is_usable_is_one_of_them_that_fits(svids: list[Svid]) -> None:
    found = usable(svids, MINE, NOW)
    if not isinstance(found, Fault):
        chosen, left = found
        assert (chosen.spiffe_id, chosen.key_type) == (MINE, "EC P-256")
        assert chosen in svids
        assert left > 0


def hinted(hint: str) -> Svid:
    return dataclasses.replace(GOOD, hint=hint)


@pytest.mark.parametrize(
    ("svids", "hint", "expected"),
    [
        ([hinted("a"), hinted("b")], "b", hinted("b")),
        ([hinted("b"), STRANGE], "b", hinted("b")),
        ([hinted("a")], "", hinted("a")),  # not configured: hints mean nothing
        ([hinted("b"), hinted("a")], "b", Reason.IDENTITY_UNEXPECTED),  # the proxy would take the other
        ([GOOD], "b", Reason.IDENTITY_UNEXPECTED),
    ],
)
def test_a_hint_says_which_one_the_proxy_must_take(svids: list[Svid], hint: str, expected: Svid | Reason) -> None:
    found = choose(svids, MINE, hint)
    assert (found.reason if isinstance(found, Fault) else found) == expected


def test_what_cannot_be_read_is_named_and_hides_no_other() -> None:
    broken = dataclasses.replace(STRANGE, flaw="garbage")
    assert choose([GOOD, broken], MINE) == GOOD
    mine = dataclasses.replace(GOOD, flaw="garbage")
    assert choose([mine], MINE) == Fault(Reason.IDENTITY_MALFORMED, f"{MINE}: garbage")


def test_an_id_that_no_workload_can_name_is_said_to_be_too_long() -> None:
    long = svid("spiffe://example.org/" + "a" * 233)
    found = choose([long], MINE)
    assert isinstance(found, Fault) and found.reason is Reason.IDENTITY_TOO_LONG
    assert "254 characters" in found.detail
    assert choose([long, GOOD], MINE) == GOOD


def test_the_margin_is_a_quarter_of_a_short_life() -> None:
    assert [margin(left) for left in (3600.0, 20.0, 10.0)] == [5.0, 5.0, 2.5]
