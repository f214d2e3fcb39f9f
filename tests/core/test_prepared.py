"""The plan of a restart, as a text and back, and the script that only replaces rules of ours."""

import json
from ipaddress import ip_address

import pytest

from agent.core import prepared
from agent.core.facts import Level
from agent.core.prepared import Plan
from agent.core.redirect import RedirectSpec, nft, ruleset

PLAN = Plan(
    2102,
    "/usr/bin/linkerd2-proxy",
    {"A": "-----BEGIN\nmore\n", "B": "=", "C": ""},
    {"/etc/x": prepared.identity(1, 2, 3, 4), "/etc/y": prepared.absent()},
    "/usr/sbin/nft",
    [("fd09::2", 4143), ("10.9.0.2", 4143)],
    "policy:8090",
    "new connections are reset",
    "/run/spire/api.sock",
    "spiffe://td/vm-1",
    "proxy",
    standby=[("169.254.41.2", 4143), ("127.0.0.1", 4142)],
)


def test_a_plan_is_read_as_it_was_written() -> None:
    found = prepared.read(prepared.written(PLAN))
    assert found is not None and vars(found) == vars(PLAN)
    empty = prepared.read(prepared.written(Plan(1, "", {}, {})))
    assert empty is not None and (empty.nft, empty.arrivals, empty.environment) == ("", (), {})


def test_what_is_not_a_whole_plan_is_none() -> None:
    text = prepared.written(PLAN)
    for end in range(len(text)):
        assert prepared.read(text[:end]) is None, end
    for other in (text + "\0.", "1" + text[1:], text.replace("2102", "x"), text.replace("4143", "-"), "\0" * 9):
        assert prepared.read(other) is None


def test_a_value_with_a_nul_is_not_written() -> None:
    with pytest.raises(ValueError, match="NUL"):
        prepared.written(Plan(1, "/bin/true", {"A": "x\0y"}, {}))


def test_the_record_of_a_process_is_read_as_it_was_written() -> None:
    assert prepared.read_armed(prepared.armed(7, 1234, 5.5)) == (7, 1234, 5.5)
    for other in ("", "1 2", "a b c", "1 2 3 4"):
        assert prepared.read_armed(other) is None


def test_a_script_replaces_a_table_and_creates_none() -> None:
    """nft refuses the whole of it where there is no table: `delete` comes first."""
    spec = RedirectSpec(proxy_uid=7, addresses=(ip_address("10.9.0.2"),), ports=frozenset({8080}))
    rules = ruleset(spec, Level.ON, Level.RELEASED)
    assert rules is not None
    commands = json.loads(nft.script(rules))["nftables"]
    assert commands[0] == {"delete": {"table": nft.TABLE}}
    assert [{"add": {"table": nft.TABLE}}, *commands] == nft.transaction(rules)["nftables"]
