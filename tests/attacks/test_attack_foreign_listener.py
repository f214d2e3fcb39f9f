"""The attacker has the agent's user, or is any local user: it listens where redirected connections arrive, and has
the privileged helper redirect to it.

What must hold: a direction becomes or stays ON only while the sockets at exactly those addresses are the proxy's.
"""

from pathlib import Path

import pytest

from agent.core.facts import Level
from agent.core.redirect import ruleset
from agent.privileged.redirect import kernel, specification
from tests.privileged.helper_requests import CHECK, apply
from tests.privileged.hosts import ADMIN, INBOUND, OUTBOUND, PROXY_UID, Host, Listeners
from tests.privileged.levels import (
    ARM,
    CONFIRM,
    LONG_TRIAL,
    NOW,
    ON,
    RELEASED,
    RESTORE,
    closed,
    done,
    levels,
    refused,
)

pytestmark = pytest.mark.usefixtures("root")

ATTACKER = 1000
SET_ON = apply("on", "on")
FOREIGN = "ProxyListenerForeign"
TESTED = "by the tracer, and by"


@pytest.fixture
def member(host: Host, ears: Listeners) -> Host:
    """Its configuration was approved, and it has been Ready."""
    with Listeners() as proxy:
        proxy.add_proxy(host.space)
        assert levels(host, NOW) == ON
        done(host, {"verb": "ready record"})
    assert levels(host, {"verb": "redirect failed"}) == ("block", "released")
    return host


def test_attack_of_the_agent_that_listens_in_the_stopped_proxys_place(member: Host, ears: Listeners) -> None:
    ears.add_proxy(member.space, uid=ATTACKER)
    for request in (SET_ON, ARM, apply("on", "released"), apply("released", "on")):
        assert refused(member, request)[0] == FOREIGN, request
    assert levels(member, NOW) == levels(member, RESTORE) == ("block", "released")
    assert closed(member)


@pytest.mark.parametrize("place", [("10.9.0.2", INBOUND), ("127.0.0.1", OUTBOUND), ("::1", OUTBOUND)])
def test_attack_of_one_listener_beside_the_proxys(member: Host, ears: Listeners, place: tuple[str, int]) -> None:
    ears.add(member.space, *place, uid=ATTACKER)
    ears.add_admin(member.space)
    for address, port in {("fd09::2", INBOUND), ("10.9.0.2", INBOUND), ("127.0.0.1", OUTBOUND), ("::1", OUTBOUND)}:
        if (address, port) != place:
            ears.add(member.space, address, port, uid=PROXY_UID)
    assert refused(member, SET_ON)[0] == FOREIGN
    assert refused(member, ARM)[0] == FOREIGN
    assert closed(member)


def test_attack_of_a_stranger_on_another_address_of_loopback(member: Host, ears: Listeners) -> None:
    """It does not pass for the proxy, and does not keep the proxy from being redirected to."""
    ears.add(member.space, "127.0.0.2", OUTBOUND, ADMIN, uid=ATTACKER)
    ears.add(member.space, "127.0.0.2", INBOUND, uid=ATTACKER)
    assert refused(member, SET_ON)[0] == "ProxyListenerAbsent"
    ears.sockets.pop().close()  # a proxy could not listen on every address beside it
    ears.add_proxy(member.space)
    assert levels(member, ARM) == levels(member, SET_ON) == ON


def test_attack_of_a_stranger_while_on(member: Host, ears: Listeners) -> None:
    """The proxy has ended unnoticed: the next request closes what would go to the stranger, whatever it asks."""
    with Listeners() as proxy:
        proxy.add_proxy(member.space)
        assert levels(member, SET_ON) == ON
    ears.add_proxy(member.space, uid=ATTACKER)
    assert refused(member, SET_ON)[0] == FOREIGN
    assert levels(member, CHECK) == ("block", "released")
    assert closed(member)


def test_attack_of_a_stranger_while_one_direction_is_closed(member: Host, ears: Listeners) -> None:
    with Listeners() as proxy:
        proxy.add_proxy(member.space)
        assert levels(member, SET_ON) == ON
    ears.add_proxy(member.space, uid=ATTACKER)
    answer = done(member, {"verb": "redirect block", "direction": "inbound"})
    assert (answer["inbound"], answer["outbound"]) == ("block", "released")


def test_attack_of_a_stranger_during_a_trial(member: Host, ears: Listeners) -> None:
    """Neither what is on trial nor the rules from before come into force for good."""
    config = member.config.read_text()
    with Listeners() as proxy:
        proxy.add_proxy(member.space)
        assert levels(member, SET_ON) == ON
        member.config.write_text(config.replace('"fd42::/64"', '"fd42::/65"'))
        assert levels(member, LONG_TRIAL) == ON
    ears.add_proxy(member.space, uid=ATTACKER)
    assert refused(member, CONFIRM)[0] == FOREIGN
    assert levels(member, {"verb": "redirect revert"}) == ("block", "released")


def test_attack_of_a_stranger_whom_the_self_test_meets(
    member: Host, ears: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came between the look at the listeners and the rules: the packet of the self-test reaches its socket."""
    from agent.privileged import Refusal
    from agent.privileged.redirect import live_rules, transaction

    ears.add_proxy(member.space, uid=ATTACKER)
    spec = specification.spec(member.prefix)

    def put() -> str:
        before = live_rules.read(member.prefix)
        try:
            transaction.put(member.prefix, member.prefix, spec, before, (Level.ON, Level.ON))
        except Refusal as refusal:
            return str(refusal.reason)
        return "kept"

    assert member.space.inside(put) == FOREIGN
    assert levels(member, CHECK) == ("block", "released")
    assert "suspended" not in done(member, CHECK)
    assert member.space.inside(lambda: kernel.read()) == ruleset(spec, Level.BLOCK, Level.RELEASED)


def test_attack_does_not_reach_a_host_whose_proxy_never_listened(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space, uid=ATTACKER)
    assert refused(host, SET_ON)[0] == FOREIGN
    assert levels(host, CHECK) in (("off", "off"), RELEASED)
