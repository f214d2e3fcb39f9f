"""The attacker is a meshed peer, or has the proxy's user: it has the proxy dial a port of this host that nobody
declared, such as SSH's.

What must hold: as long as a process of the proxy's user may dial, the kernel refuses that, whatever is redirected.
"""

import time
from functools import partial

import pytest

from agent.privileged.system import listeners
from tests.privileged.helper_requests import CHECK, REMOVE, apply
from tests.privileged.hosts import APP, FAMILIES, INBOUND, PROXY_UID, SSH, Host, Listeners, dial
from tests.privileged.levels import FAILED, NOW, OFF, ON, RELEASED, RESTORE, done, levels, refused

pytestmark = pytest.mark.usefixtures("root")

MODE_OFF = '[redirect]\nmode = "off"'
REMOVE_NOW = {"verb": "redirect remove", "now": "yes"}
LEAVE = {"verb": "phase set", "phase": "left"}
START = {"verb": "proxy start"}


@pytest.fixture
def proxy(host: Host) -> Listeners:
    """The proxy's listeners, and those of SSH and of the application."""
    made = Listeners()
    made.add_proxy(host.space)
    return made


@pytest.fixture
def member(host: Host, ears: Listeners, proxy: Listeners) -> Host:
    for family in FAMILIES:
        ears.add(host.space, family.host, SSH, APP)
    assert levels(host, NOW) == ON
    return host


def is_guarded(host: Host) -> bool:
    """By both IP versions, and by loopback too."""
    for family in FAMILIES:
        for address in (family.host, family.loopback):
            with pytest.raises(ConnectionRefusedError):
                dial(host.space, address, SSH, PROXY_UID)
        dial(host.space, family.host, APP, PROXY_UID).close()
        dial(host.space, family.host, SSH).close()
    return True


def is_open(host: Host) -> bool:
    dial(host.space, FAMILIES[0].host, SSH, PROXY_UID).close()
    return levels(host) == OFF


def ended(host: Host) -> None:
    """Also the connections that it closed last: the kernel ends each by itself."""
    end = time.monotonic() + 10
    while host.space.inside(partial(listeners.may_dial, PROXY_UID)):
        assert time.monotonic() < end, "a socket of the proxy's user is left"
        time.sleep(0.01)


@pytest.mark.parametrize("wanted", [RELEASED, OFF, ("released", "off")], ids="-".join)
def test_attack_through_the_proxy_while_nothing_is_redirected(
    member: Host, proxy: Listeners, wanted: tuple[str, str]
) -> None:
    with proxy:
        assert levels(member, apply(*wanted)) == RELEASED
        assert is_guarded(member)
        assert levels(member) == RELEASED
    ended(member)
    assert levels(member, apply("off", "off")) == OFF
    assert is_open(member), "no process of the proxy's user is left"


def test_attack_through_the_proxy_with_the_redirect_off(member: Host, proxy: Listeners) -> None:
    member.config.write_text(member.config.read_text().replace("[redirect]", MODE_OFF))
    with proxy:
        assert levels(member, NOW) == RELEASED
        assert is_guarded(member)
        assert levels(member, apply("off", "off")) == levels(member, RESTORE) == RELEASED
        assert is_guarded(member)


@pytest.mark.parametrize("request_", [REMOVE, REMOVE_NOW], ids=["remove", "now"])
def test_attack_through_the_proxy_after_the_rules_were_removed(
    member: Host, proxy: Listeners, request_: dict[str, str]
) -> None:
    with proxy:
        answer = done(member, request_)
        assert (answer["inbound"], answer["guards"]) == ("released", "yes")
        assert is_guarded(member)
        assert levels(member, apply("off", "off")) == RELEASED
    ended(member)
    assert levels(member, FAILED) == OFF, "the guard goes with the proxy"
    assert is_open(member)


def test_attack_through_the_proxy_of_a_host_that_has_left(member: Host, proxy: Listeners) -> None:
    with proxy:
        done(member, LEAVE)
        assert levels(member, apply("off", "off")) == RELEASED
        assert is_guarded(member)
    ended(member)
    assert levels(member, FAILED) == OFF
    assert is_open(member)


def test_attack_through_the_proxy_after_a_failed_test(member: Host, proxy: Listeners, ears: Listeners) -> None:
    """What is restored in place of nothing guards as well."""
    with proxy:
        done(member, REMOVE_NOW)
        member.space.run("nft", "delete", "table", "inet", "fairlead")
        assert levels(member, {"verb": "redirect apply", "confirm": "5"}) == ON
        done(member, {"verb": "redirect revert"})
        assert levels(member, CHECK) == RELEASED
        assert is_guarded(member)


def test_attack_through_a_proxy_that_starts(host: Host, ears: Listeners) -> None:
    """The guard is there before it listens, also where nothing was ever set."""
    ears.add(host.space, FAMILIES[0].host, SSH, INBOUND)
    refused(host, START)  # there is no systemd in this namespace to start it
    assert levels(host) == RELEASED
    with pytest.raises(ConnectionRefusedError):
        dial(host.space, FAMILIES[0].host, SSH, PROXY_UID)
