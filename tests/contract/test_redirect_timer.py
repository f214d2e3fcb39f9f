"""Rules on trial by iptables, which has no timeouts: a timer of the real systemd reverts them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.privileged.redirect import trial
from tests.lab.machine import Machine
from tests.privileged.hosts import CONFIG, Listeners

pytestmark = pytest.mark.real

KINDS = ("nft", "legacy")
UNIT = f"{trial.unit(Path('/'))}.timer"


def configure(machine: Machine, kind: str) -> None:
    text = CONFIG.replace("[redirect]", f'[redirect]\nbackend = "iptables-{kind}"')
    machine.write("/etc/fairlead/fairlead.toml", text)


def fairlead(machine: Machine, *words: str) -> str:
    return machine.run("fairlead", "redirect", *words)


def rules(machine: Machine, kind: str) -> str:
    return machine.run(f"iptables-{kind}-save") + machine.run(f"ip6tables-{kind}-save")


def timers(machine: Machine) -> str:
    return machine.systemctl("list-units", "--all", "--plain", "--no-legend", "fairlead-revert-*")


@pytest.fixture
def host(machine: Machine) -> Iterator[Machine]:
    yield machine
    fairlead(machine, "remove", "--now")
    machine.run("rm", "-rf", "/etc/fairlead", "/var/lib/fairlead")


@pytest.fixture
def proxy(host: Machine) -> Iterator[None]:
    with Listeners() as ears:
        ears.add_proxy(host.space)
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_confirms_is_taken_back(host: Machine, proxy: None, kind: str) -> None:
    configure(host, kind)
    assert "for 10 s" in fairlead(host, "apply", "--confirm", "10s")
    assert UNIT in timers(host)
    assert "--to-destination :4143" in rules(host, kind)
    host.wait_until(lambda: ":4143" not in rules(host, kind), "the redirect is taken back")
    assert "FAIRLEAD_TRACK" in rules(host, kind)  # tracking stays for streams that were redirected
    assert "suspended: unconfirmed" in fairlead(host, "show")
    host.wait_until(lambda: timers(host) == "", "nothing is left of the timer")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_confirmed_stays_and_its_timer_goes(host: Machine, proxy: None, kind: str) -> None:
    configure(host, kind)
    fairlead(host, "apply", "--confirm", "1h")
    assert "on trial:" in fairlead(host, "show")
    assert fairlead(host, "confirm") == "kept: inbound on, outbound on\n"
    assert timers(host) == ""
    assert "suspended" not in fairlead(host, "show")
    assert "--to-destination :4143" in rules(host, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_helper_behind_its_socket_has_what_it_takes(host: Machine, proxy: None, kind: str) -> None:
    """The unit's bounds leave it no capability over units; that it is root is enough."""
    configure(host, kind)
    host.systemctl("start", "fairlead-helper.socket")
    try:
        fairlead(host, "apply", "--confirm", "1h")
        assert UNIT in timers(host)
        assert fairlead(host, "revert") == "reverted: inbound released, outbound released\n"
        assert timers(host) == ""
    finally:
        host.systemctl("stop", "fairlead-helper.socket")


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_reboot_what_was_not_confirmed_does_not_come_back(
    fresh_machine: Callable[[], Machine], kind: str
) -> None:
    made = fresh_machine()
    configure(made, kind)
    with made.powered():
        made.systemctl("enable", "--now", "fairlead-redirect.service")
        assert "dport 8080" not in rules(made, "nft" if kind == "legacy" else "legacy")
        assert "8080" in rules(made, kind)  # closed until the proxy is ready
        made.write("/etc/fairlead/fairlead.toml", made.read("/etc/fairlead/fairlead.toml").replace("8080", "8081"))
        fairlead(made, "apply", "--confirm", "1h")
        assert "8081" in rules(made, kind)
        made.reboot()
        assert "8080" in rules(made, kind) and "8081" not in rules(made, kind)
        assert timers(made) == ""
        assert "suspended: unconfirmed" in fairlead(made, "show")
        fairlead(made, "apply")
        assert "8081" in rules(made, kind)
