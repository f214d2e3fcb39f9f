import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import anchors, gate_record
from agent.core.reasons import Fault, Reason

ders = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5)


@given(ders)
def test_identity_anchors_survive_the_way_through_pem(certificates: list[bytes]) -> None:
    assert anchors.certificates(anchors.pem(certificates)) == tuple(sorted(set(certificates)))


@given(ders, st.randoms())
def test_identity_anchors_have_one_name_in_whatever_order(certificates: list[bytes], random: object) -> None:
    shuffled = [*certificates, *certificates[:1]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert anchors.digest(shuffled) == anchors.digest(certificates)


def test_identity_anchors_of_different_parts_have_different_names() -> None:
    assert len({anchors.digest(each) for each in ([b"ab"], [b"a", b"b"], [b"a"], [b"abab"])}) == 4


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"]
)
def test_identity_anchors_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds no certificate"):
        anchors.certificates(text)


def test_identity_anchors_are_read_among_comments_and_line_ends_of_any_kind() -> None:
    text = base64.b64encode(b"x" * 80).decode()
    armoured = f"# the root\r\n-----BEGIN CERTIFICATE-----\r\n{text}\r\n-----END CERTIFICATE-----\r\n# that was it"
    assert anchors.certificates(armoured) == (b"x" * 80,)


@given(st.text(max_size=20), st.floats(0, 1e6))
def test_identity_restart_delays_are_within_the_window_and_always_the_same(name: str, window: float) -> None:
    delay = anchors.restart_delay(name, "digest", window)
    assert 0 <= delay <= window
    assert delay == anchors.restart_delay(name, "digest", window)


def test_identity_restarts_are_spread_evenly() -> None:
    delays = sorted(anchors.restart_delay(f"shop/db-{n}", "digest", 100.0) for n in range(1000))
    assert all(abs(delay - n / 10) < 6 for n, delay in enumerate(delays))
    drawn = {anchors.restart_delay("shop/db-1", f"digest {n}", 100.0) for n in range(10)}
    assert len(drawn) == 10, "for other anchors another moment"


def test_identity_gate_record_comes_back_as_it_was() -> None:
    fault = Fault(Reason.WORKLOAD_API_DENIED, "no identity issued")
    assert gate_record.read(gate_record.written(fault)) == fault


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"reason": "NoSuchReason", "detail": ""}', "[" * 5000, "1"])
def test_identity_gate_record_that_is_none_says_nothing(text: str) -> None:
    assert gate_record.read(text) is None


def test_identity_gate_record_cannot_forge_a_line_of_a_log() -> None:
    found = gate_record.read('{"reason": "IdentityExpired", "detail": "a\\nb\\u001b[0m"}')
    assert found == Fault(Reason.IDENTITY_EXPIRED, "ab[0m")
