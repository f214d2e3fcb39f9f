"""Which way a proxy is replaced, by what a host has: each obstacle alone, and the first of several."""

from dataclasses import replace

import pytest

from agent.core.doctor import machine
from agent.core.doctor.check import Result
from agent.core.replacement_way import COVERED, DRAINED, Seen, obstacle, words

TWO = Seen(wanted=True)


def test_a_host_with_two_slots_drains_nothing() -> None:
    assert obstacle(TWO) is None and words(None) == COVERED
    assert machine.replacement(TWO).result is Result.OK


def test_one_slot_as_configured_is_no_warning() -> None:
    found = machine.replacement(Seen(wanted=False, one_slot="proxy.slots is false"))
    assert found.result is Result.OK and found.why == f"{DRAINED}: proxy.slots is false" and not found.fix


OBSTACLES = (
    (replace(TWO, one_slot="redirect.backend is iptables-nft"), "iptables-nft", "remove proxy.slots"),
    (replace(TWO, nftables=False), "no nft", "install nftables"),
    (replace(TWO, taken="eth0 has 169.254.41.9"), "eth0 has 169.254.41.9", "proxy.slot_network"),
    (replace(TWO, listens="a process of uid 7 listens on every address"), "uid 7", "another port"),
    (replace(TWO, approved=False), "not approved", "fairlead redirect apply"),
    (replace(TWO, old=True), "before there were slots", "fairlead reload --restart-proxy"),
    (replace(TWO, short="a second proxy may need 62 MiB, and 60 MiB are left"), "62 MiB", "free memory"),
)


@pytest.mark.parametrize(("seen", "why", "fix"), OBSTACLES, ids=[why for _, why, _ in OBSTACLES])
def test_each_obstacle_is_named_with_a_way_out(seen: Seen, why: str, fix: str) -> None:
    found = machine.replacement(seen)
    assert found.result is Result.WARN and why in found.why and fix in found.fix
    assert found.why == words(obstacle(seen)) and found.why.startswith(DRAINED)


def test_what_stays_is_named_before_what_passes() -> None:
    seen = replace(TWO, nftables=False, taken="eth0 has 169.254.41.9", old=True, short="short")
    found = obstacle(seen)
    assert found is not None and "nft" in found.why
