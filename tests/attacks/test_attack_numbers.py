"""Attackers: an issuer of tokens, a server that the agent asks, the proxy, a local user at the agent's socket.
They choose numbers. A number gives a reason or a 400, never a crash."""

import base64
import json
import math
from typing import Any

import pytest

from agent.adapters.kube import jwt_svid
from agent.core import control_plane, numbers, proxy_pages, token
from agent.core.facts import UNKNOWN

HUGE = "9" * 400
# As JSON, which Python's reader takes.
HOSTILE = ["NaN", "Infinity", "-Infinity", "1e999", HUGE, "9" * 5000, "-1", "true", "null", '"1e400"', "[]", "{}"]


def _jwt(claims: str) -> str:
    body = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_attack_a_token_with_such_a_time_is_no_token(claim: str, hostile: str) -> None:
    times = {"exp": "2000000000", "nbf": "1000000000"} | {claim: hostile}
    claims = ",".join(f'"{name}": {value}' for name, value in times.items())
    with pytest.raises(ValueError, match="not a service account's token"):
        token.claims(_jwt(f'{{"sub": "s", "aud": "a", {claims}}}'))


@pytest.mark.parametrize("hostile", [one for one in HOSTILE if one != "-1"])
def test_attack_a_jwt_svid_with_such_an_expiry_is_none(hostile: str) -> None:
    assert jwt_svid.read_claims(_jwt(f'{{"sub": "s", "exp": {hostile}}}')) is None


@pytest.mark.parametrize("hostile", ["nan", "inf", "1e999", "x", "-5", HUGE, "1" * 5000])
def test_attack_metrics_with_such_an_expiry_are_unreadable(hostile: str) -> None:
    text = f"identity_cert_expiration_timestamp_seconds {hostile}\n# EOF\n"
    assert proxy_pages.read_metrics(text) == (UNKNOWN, 0)


def test_attack_metrics_count_nothing_beyond_what_a_counter_holds() -> None:
    labels = 'direction="inbound",peer="src",target_addr="10.0.0.1:8080"'
    assert proxy_pages.read_metrics(f"tcp_open_connections{{{labels}}} {'9' * 5000}\n# EOF\n") == (UNKNOWN, 0)
    answers = f'control_response_latency_ms_count{{addr="p:8090",status_code="200"}} {"9" * 5000}\n# EOF\n'
    counters = control_plane.read_metrics(answers, "p:8090")
    assert counters is not UNKNOWN and counters.answers == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, True, None, [], "1" * 41, "१" * 3])
def test_attack_no_such_number_is_a_moment(value: Any) -> None:
    assert numbers.moment(value) in (None, 111.0)


@pytest.mark.parametrize("value", ["9" * 19, "²", "१", "-1", "1.0", "", " 1"])
def test_attack_no_such_text_is_a_version(value: str) -> None:
    assert numbers.whole(value) is None


def test_a_number_may_be_text_or_a_number() -> None:
    assert (numbers.moment("12.5"), numbers.moment(0), numbers.whole("0042")) == (12.5, 0.0, 42)
    assert numbers.moment(json.loads("253402300800")) is None
