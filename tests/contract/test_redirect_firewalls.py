"""Beside firewalld and ufw, the real ones: loaded before and after the redirect, reloaded, and removed."""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.core.facts import Level
from agent.core.redirect import levels, ruleset
from agent.core.redirect.firewall import Arrival, Verdict, input_verdict
from agent.privileged.redirect import admission, kernel, specification
from tests.privileged.firewall_daemons import Ufw, firewalld
from tests.privileged.firewalls import force
from tests.privileged.helper_requests import ask
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    OUTBOUND,
    SSH,
    UNDECLARED,
    Family,
    Host,
    Listeners,
    dial,
)

ON, BLOCK, RELEASED = Level.ON, Level.BLOCK, Level.RELEASED
SHUT = r"No route to host|Permission denied|refused|timed out|prohibited"


@pytest.fixture
def ears(host: Host) -> Iterator[Listeners]:
    with Listeners() as made:
        made.add_families(host.space, APP, SSH, UNDECLARED)
        yield made


def put(host: Host, backend: str, inbound: Level, outbound: Level = ON) -> None:
    rules = ruleset(specification.spec(host.prefix), inbound, outbound)
    host.space.inside(lambda: kernel.replace(rules, backend))


def is_whole(host: Host, backend: str, inbound: Level = ON) -> bool:
    live = host.space.inside(lambda: kernel.read(backend))
    return levels(specification.spec(host.prefix), live) == (inbound, ON)


def redirected(host: Host, ears: Listeners, family: Family) -> bool:
    """In and out."""
    application, network = (family.host, APP), (family.cluster, 80)
    inbound = ears.heard(host.peer, *application) == ((family.host, INBOUND), application)
    return inbound and ears.heard(host.space, *network) == ((family.loopback, OUTBOUND), network)


def shut(host: Host, family: Family, port: int) -> bool:
    with pytest.raises(OSError, match=SHUT):
        dial(host.peer, family.host, port)
    return True


def verdict(host: Host, family: Family, translated: bool) -> Verdict:
    listing = json.loads(host.space.run("nft", "-j", "list", "ruleset"))
    arrival = Arrival("w0", ip_address(family.peer), ip_address(family.host), translated=translated)
    return input_verdict(listing, arrival)


def said(host: Host) -> tuple[Verdict, str]:
    """By `plan`: the verdict, and the first command that would open the port."""
    found = host.space.inside(lambda: admission.admission(admission.seen(), specification.spec(host.prefix), ()))
    return found.verdict, next(iter(found.commands), "")


# firewalld -----------------------------------------------------------------------------------------


def test_the_redirect_beside_firewalld(host: Host, ears: Listeners, backend: str, tmp_path: Path) -> None:
    """It lets in what was translated, and the shipped service opens 4143 to who dials that.

    As it comes, it refuses what goes out to ::/96, which is meant for 6to4 and holds ::1: what is redirected to
    the proxy over IPv6 has a new address there, and still the interface of the old one.
    """
    put(host, backend, ON)
    with firewalld(host, tmp_path / "firewalld") as daemon:
        mended(host, backend)
        v6 = FAMILIES[1]
        with pytest.raises(OSError, match="No route to host"):
            dial(host.space, v6.cluster, 80)
        daemon.set("RFC3964_IPv4", "no")
        daemon.command("--reload")
        mended(host, backend)
        assert_beside_firewalld(host, ears, backend)
        for family in FAMILIES:
            assert verdict(host, family, translated=True) is Verdict.ACCEPTED
            assert verdict(host, family, translated=False) is Verdict.REFUSED
            assert shut(host, family, INBOUND)
        assert said(host) == (Verdict.REFUSED, "firewall-cmd --permanent --add-service=fairlead")
        daemon.command("--permanent", "--add-service=fairlead")
        daemon.command("--reload")
        mended(host, backend)
        assert_beside_firewalld(host, ears, backend)
        for family in FAMILIES:
            assert verdict(host, family, translated=False) is Verdict.ACCEPTED
            assert ears.heard(host.peer, family.host, INBOUND)[0] == (family.host, INBOUND)
        assert said(host) == (Verdict.ACCEPTED, "")
        daemon.command("--complete-reload")
        mended(host, backend)
        assert_beside_firewalld(host, ears, backend)
        put(host, backend, BLOCK)
        for family in FAMILIES:
            with pytest.raises(ConnectionRefusedError):
                dial(host.peer, family.host, APP)
            assert ears.heard(host.peer, family.host, SSH)[0] == (family.host, SSH)
    assert is_whole(host, backend, BLOCK) is (backend != "iptables-nft")
    assert "firewalld" not in host.space.run("nft", "list", "tables")


def mended(host: Host, backend: str) -> None:
    """It empties all tables of what this host calls iptables. That is drift, which the kernel reports."""
    if backend == "iptables-nft":
        assert not is_whole(host, backend)
        put(host, backend, ON)


def assert_beside_firewalld(host: Host, ears: Listeners, backend: str) -> None:
    assert is_whole(host, backend)
    for family in FAMILIES:
        assert redirected(host, ears, family)
        assert ears.heard(host.peer, family.host, SSH)[0] == (family.host, SSH)
        assert shut(host, family, UNDECLARED)


def test_the_redirect_is_tested_and_set_behind_firewalld(host: Host, backend: str, tmp_path: Path) -> None:
    """By default firewalld would reject every redirected IPv6 connection: the redirect is refused, with the
    remedy, and nothing has changed."""
    force(host, backend)
    with firewalld(host, tmp_path / "firewalld") as daemon, Listeners() as ears:
        ears.add(host.space, "::", APP, SSH, UNDECLARED)
        ears.add_proxy(host.space)
        code, answer = ask(host, {"verb": "redirect apply", "confirm": "none"})
        assert (code, answer["reason"]) == (1, "RedirectRefused"), answer
        assert "IPv6" in str(answer["detail"]) and "RFC3964_IPv4=no" in str(answer["detail"])
        assert host.space.inside(lambda: kernel.read(backend)) is None
        daemon.set("RFC3964_IPv4", "no")
        daemon.command("--reload")
        code, answer = ask(host, {"verb": "redirect apply", "confirm": "none"})
        assert (code, answer["inbound"]) == (0, "on"), answer
        assert answer["tested"] == "by the tracer, and by 4 connections from outside"


# ufw -----------------------------------------------------------------------------------------------


def test_the_redirect_beside_ufw(host: Host, ears: Listeners, backend: str, tmp_path: Path) -> None:
    """It sees 4143 and knows nothing of translation: peers come in once the shipped profile is allowed."""
    kind = "legacy" if backend == "iptables-legacy" else "nft"
    ufw = Ufw(host, tmp_path / "ufw", kind)
    ufw.command("allow", "22/tcp")
    put(host, backend, ON)
    ufw.command("--force", "enable")
    assert is_whole(host, backend)
    for family in FAMILIES:
        assert ears.heard(host.peer, family.host, SSH)[0] == (family.host, SSH)
        assert silent(host, family, APP) and silent(host, family, UNDECLARED)
    assert said(host) == (Verdict.REFUSED, "ufw allow fairlead")
    ufw.command("allow", "fairlead")
    ufw.command("reload")
    assert said(host) == (Verdict.ACCEPTED, "")
    assert is_whole(host, backend)
    for family in FAMILIES:
        assert redirected(host, ears, family)
        assert ears.heard(host.peer, family.host, SSH)[0] == (family.host, SSH)
        assert silent(host, family, UNDECLARED)
    put(host, backend, BLOCK)
    for family in FAMILIES:
        with pytest.raises(ConnectionRefusedError):
            dial(host.peer, family.host, APP)
    ufw.command("disable")
    assert is_whole(host, backend, BLOCK)


def test_the_redirect_is_tested_and_set_behind_ufw(host: Host, backend: str, tmp_path: Path) -> None:
    """Where 4143 is closed to other hosts no answer comes, and that is not a problem."""
    force(host, backend)
    ufw = Ufw(host, tmp_path / "ufw", "legacy" if backend == "iptables-legacy" else "nft")
    ufw.command("allow", "22/tcp")
    ufw.command("--force", "enable")
    with Listeners() as ears:
        ears.add(host.space, "::", APP, SSH, UNDECLARED)
        ears.add_proxy(host.space)
        code, answer = ask(host, {"verb": "redirect apply", "confirm": "none"})
        assert (code, answer["inbound"]) == (0, "on"), answer
        assert answer["tested"] == "by the tracer, and by 4 connections from outside, 2 of them without an answer"
    ufw.command("reload")
    assert is_whole(host, backend)


def silent(host: Host, family: Family, port: int) -> bool:
    with pytest.raises(TimeoutError):
        dial(host.peer, family.host, port, within=0.5)
    return True
