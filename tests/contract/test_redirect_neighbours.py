"""Beside other owners of the firewall: container runtimes, programs that flush tables, the guide, another
backend."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.core.facts import Level
from agent.core.redirect import Inbound, Published, levels, ruleset
from agent.core.redirect.firewall import Arrival, Verdict, input_verdict
from agent.privileged.redirect import guide_chains, kernel, published, specification
from tests.lab.netns import Namespace, namespace
from tests.privileged.firewalls import BACKENDS, FIREWALLD, GUIDE, OPENED, docker, leftovers
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    OUTBOUND,
    UNDECLARED,
    Family,
    Host,
    Listeners,
    dial,
    listening,
)

OFF, RELEASED, BLOCK, ON, PARTIAL = Level.OFF, Level.RELEASED, Level.BLOCK, Level.ON, Level.PARTIAL
CONTAINER = {4: "172.17.0.2", 6: "fd17::2"}


def put(host: Host, backend: str, inbound: Level, outbound: Level) -> None:
    rules = ruleset(specification.spec(host.prefix), inbound, outbound)
    host.space.inside(lambda: kernel.replace(rules, backend))


def live(host: Host, backend: str) -> tuple[Level, Level]:
    return levels(specification.spec(host.prefix), host.space.inside(lambda: kernel.read(backend)))


@contextmanager
def container(host: Host) -> Iterator[Namespace]:
    """Behind a bridge named docker0, on networks of its own, with this host for a router."""
    with namespace() as made:
        host.space.ip("link add docker0 type bridge")
        host.space.ip(f"link add veth0 type veth peer name eth0 netns {made.name}")
        host.space.ip("link set veth0 master docker0")
        for address, its in (("172.17.0.1/24", "172.17.0.2/24"), ("fd17::1/64 nodad", "fd17::2/64 nodad")):
            host.space.ip(f"addr add {address.split()[0]} dev docker0 {' '.join(address.split()[1:])}".strip())
            made.ip(f"addr add {its.split()[0]} dev eth0 {' '.join(its.split()[1:])}".strip())
        for link in ("docker0", "veth0"):
            host.space.ip(f"link set {link} up")
        made.ip("link set eth0 up")
        made.ip("route add default via 172.17.0.1")
        made.ip("route add default via fd17::1")
        host.space.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        yield made


# containers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nft", "legacy"])
@pytest.mark.parametrize("port", [APP, UNDECLARED], ids=["declared", "undeclared"])
def test_a_published_port(host: Host, backend: str, family: Family, kind: str, port: int) -> None:
    """A declared one is the proxy's, although Docker wants it too; another one is Docker's at every level."""
    inside, place = CONTAINER[family.version], (family.host, port)
    with container(host) as space, Listeners() as ears:
        docker(host, port, inside, kind)
        ears.add(space, inside, 80)
        ears.add(host.space, family.everywhere, INBOUND)
        for level in (ON, BLOCK, RELEASED):
            put(host, backend, level, RELEASED)
            if port == UNDECLARED or level is RELEASED:
                assert ears.heard(host.peer, *place)[0] == (inside, 80), level
            elif level is ON:
                assert ears.heard(host.peer, *place) == ((family.host, INBOUND), place)
            else:
                with pytest.raises(ConnectionRefusedError):
                    dial(host.peer, *place)


def test_what_containers_send_is_forwarded(host: Host, backend: str, family: Family) -> None:
    inside = CONTAINER[family.version]
    with container(host) as space, Listeners() as ears:
        docker(host, UNDECLARED, inside)
        ears.add(host.peer, family.cluster, 80)
        ears.add(host.space, family.loopback, OUTBOUND)
        for level in (ON, BLOCK, RELEASED):
            put(host, backend, level, level)
            assert ears.heard(space, family.cluster, 80)[0] == (family.cluster, 80), level


def found(host: Host) -> frozenset[Published]:
    addresses = [ip_address(family.host) for family in FAMILIES]
    return host.space.inside(lambda: published.ports(addresses))


def at(family: Family, ports: set[int]) -> set[Published]:
    return {(ip_address(family.host), port) for port in ports}


TWO = tuple(map(ip_address, ("10.9.0.2", "10.9.0.3", "fd09::2")))
ONE_OF_TWO = "-A PREROUTING -d 10.9.0.2/32 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.17.0.2:80"


def test_a_port_that_is_published_at_one_address_of_several(host: Host, backend: str) -> None:
    """It is Docker's at that address, and the proxy's at the others."""
    host.space.ip("addr add 10.9.0.3 dev lo")
    with container(host) as space, Listeners() as ears:
        host.space.run("iptables-nft-restore", "--noflush", input=f"*nat\n{ONE_OF_TWO}\nCOMMIT\n")
        ears.add(space, CONTAINER[4], 80)
        ears.add(host.space, "0.0.0.0", INBOUND)
        ears.add(host.space, "fd09::2", INBOUND)
        there = host.space.inside(lambda: published.ports(TWO))
        spec = replace(specification.spec(host.prefix), inbound=Inbound.ALL, addresses=TWO, published=there)
        for level in (ON, BLOCK):
            rules = ruleset(spec, level, RELEASED)
            host.space.inside(lambda rules=rules: kernel.replace(rules, backend))  # type: ignore[misc]
            assert levels(spec, host.space.inside(lambda: kernel.read(backend))) == (level, RELEASED)
            assert ears.heard(host.peer, "10.9.0.2", UNDECLARED)[0] == (CONTAINER[4], 80), level
            for address in ("10.9.0.3", "fd09::2"):
                if level is ON:
                    assert ears.heard(host.peer, address, UNDECLARED)[0] == (address, INBOUND)
                else:
                    with pytest.raises(ConnectionRefusedError):
                        dial(host.peer, address, UNDECLARED)


@pytest.mark.parametrize(
    ("address", "where"),
    [("::", ""), ("0.0.0.0", "10.9.0.2"), ("10.9.0.2", "10.9.0.2"), ("fd09::2", "fd09::2"), ("127.0.0.1", None)],
)
def test_what_a_program_publishes_by_listening(host: Host, address: str, where: str | None) -> None:
    """On "::" at every address; on loopback at none."""
    with listening(host.space, "docker-proxy", address, 8443):
        expected = set() if where is None else {(ip_address(where) if where else None, 8443)}
        assert found(host) == expected


@pytest.mark.parametrize(
    ("case", "ports"),
    [
        ("published-kube-proxy-NodePort.rules", {30080}),
        ("published-jump-then-DNAT.rules", {30080}),
        ("-A PREROUTING -p tcp -m tcp --dport 2222 -j REDIRECT --to-ports 22", {2222}),
        ("-A PREROUTING -p udp -m udp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", set()),
        ("-A PREROUTING -d 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2", set()),
        ("-A PREROUTING -d 10.9.0.7/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2", set()),
        ("-A PREROUTING -d 10.9.0.2/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2", {8080}),
        ('-A PREROUTING -p tcp -m comment --comment "a --dport 80 -j DNAT" -j ACCEPT', set()),
        (
            "-A PREROUTING -p tcp --dport 8080 -j ACCEPT\n-A PREROUTING -p tcp --dport 8080:8081 -j REDIRECT",
            {8081},
        ),
        ("tcp dport 2222 redirect to :22", {2222}),
        ("udp dport 8080 dnat to 172.17.0.2", set()),
        ("ip daddr 127.0.0.1 tcp dport 8080 dnat to 172.17.0.2", set()),
        ("dnat ip to tcp dport map { 8080 : 172.17.0.2, 8081 : 172.17.0.3 }", {8080, 8081}),
        ("ip daddr . tcp dport { 10.9.0.2 . 8080, 10.9.0.7 . 8081 } dnat to 172.17.0.2", {8080}),
        ("meta l4proto . th dport vmap { tcp . 81 : accept, udp . 82 : drop } ", set()),
    ],
)
def test_published_cases(host: Host, case: str, ports: set[int]) -> None:
    """Each as it is written, and no port of the host's own."""
    path = Path(__file__).parents[1] / "cases" / case[:80]
    text = path.read_text() if case.endswith(".rules") else case
    if text.startswith("-A"):
        text = f"*nat\n{text}\nCOMMIT\n"
    elif not case.endswith(".rules"):
        text = f"table ip a {{ chain c {{ type nat hook prerouting priority dstnat; {text}; }}\n}}\n"
    host.space.run(
        *(["iptables-nft-restore", "--noflush"] if text.startswith("*") else ["nft", "-f", "-"]), input=text
    )
    assert found(host) == at(FAMILIES[0], ports)


@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_published_ports_are_found(host: Host, kind: str) -> None:
    docker(host, 8443, CONTAINER[4], kind)
    docker(host, 9443, CONTAINER[6], kind)
    host.space.run(
        "nft",
        "add table ip pods; add chain ip pods c { type nat hook prerouting priority dstnat; };"
        "add rule ip pods c tcp dport { 7000-7001, 7443 } dnat to 10.88.0.2:80",
    )
    put(host, f"iptables-{kind}", ON, ON)
    assert found(host) == at(FAMILIES[0], {8443, 7000, 7001, 7443}) | at(FAMILIES[1], {9443})


# the host's own firewall ---------------------------------------------------------------------------


def listing(host: Host) -> object:
    return json.loads(host.space.run("nft", "-j", "list", "ruleset"))


def test_what_is_said_of_the_hosts_own_firewall_is_so(host: Host, backend: str, family: Family) -> None:
    """As firewalld loads it: translated connections come in, a peer that dials 4143 itself does not."""
    arrival = Arrival("w0", ip_address(family.peer), ip_address(family.host))
    dialled = replace(arrival, translated=False)
    host.space.run("nft", "-f", "-", input=FIREWALLD)
    with Listeners() as ears:
        ears.add(host.space, family.host, INBOUND)
        put(host, backend, ON, RELEASED)
        assert input_verdict(listing(host), arrival) is Verdict.ACCEPTED
        assert ears.heard(host.peer, family.host, APP)[0] == (family.host, INBOUND)
        assert input_verdict(listing(host), dialled) is Verdict.REFUSED
        with pytest.raises(OSError, match=r"No route to host|Permission denied|refused"):
            dial(host.peer, family.host, INBOUND)
        host.space.run("nft", OPENED)
        assert input_verdict(listing(host), dialled) is Verdict.ACCEPTED
        assert ears.heard(host.peer, family.host, INBOUND)[0] == (family.host, INBOUND)


# others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "command", "seen"),
    [
        ("nftables", "nft flush ruleset", (OFF, OFF)),
        ("nftables", "iptables-nft -F; iptables-nft -t nat -F", (ON, ON)),
        ("iptables-nft", "nft flush ruleset", (OFF, OFF)),
        ("iptables-nft", "iptables-nft -F", (PARTIAL, PARTIAL)),
        ("iptables-nft", "iptables-nft -t nat -F PREROUTING", (PARTIAL, ON)),
        ("iptables-nft", "ip6tables-nft -t nat -F OUTPUT", (PARTIAL, PARTIAL)),
        ("iptables-nft", "iptables-nft -I INPUT -p tcp --dport 22 -j DROP", (ON, ON)),
        ("iptables-nft", "iptables-nft -t nat -I PREROUTING -p tcp --dport 80 -j RETURN", (PARTIAL, ON)),
        ("iptables-legacy", "nft flush ruleset", (ON, ON)),
        ("iptables-legacy", "iptables-legacy -F", (PARTIAL, PARTIAL)),
        ("iptables-legacy", "iptables-legacy -t nat -F FAIRLEAD_OUT", (ON, PARTIAL)),
        ("iptables-legacy", "ip6tables-legacy -t nat -D FAIRLEAD_IN 1", (PARTIAL, ON)),
    ],
)
def test_damage_is_seen_and_mended(host: Host, backend: str, command: str, seen: tuple[Level, Level]) -> None:
    put(host, backend, ON, ON)
    host.space.run("sh", "-c", command)
    assert live(host, backend) == seen
    put(host, backend, ON, ON)
    assert live(host, backend) == (ON, ON)


def test_fail2ban_comes_and_goes(host: Host, backend: str) -> None:
    """It puts itself first in INPUT, which conflicts with nothing."""
    put(host, backend, ON, ON)
    f2b = "iptables-legacy" if backend == "iptables-legacy" else "iptables-nft"
    first = f"{f2b} -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd"
    host.space.run("sh", "-ec", f"{f2b} -N f2b-sshd; {f2b} -A f2b-sshd -j RETURN; {first}")
    assert live(host, backend) == (ON, ON)
    put(host, backend, OFF, OFF)
    assert "f2b-sshd" in host.space.run(f"{f2b}-save")
    assert leftovers(host) == ""


@pytest.mark.parametrize("other", BACKENDS)
def test_a_change_of_backend_takes_the_others_rules_away(host: Host, backend: str, other: str) -> None:
    put(host, other, ON, ON)
    if other != backend:
        assert live(host, backend) == (PARTIAL, PARTIAL)
    put(host, backend, ON, BLOCK)
    assert live(host, backend) == (ON, BLOCK)
    host.space.inside(lambda: kernel.replace(None, other))
    assert leftovers(host) == ""


def test_the_guides_chains_are_found_and_taken_away(host: Host) -> None:
    assert host.space.inside(guide_chains.chains) == ()
    host.space.run("sh", "-ec", GUIDE)
    docker(host, 8443, CONTAINER[4])
    assert host.space.inside(guide_chains.chains) == (
        "iptables-nft IPv4 PROXY_INIT_OUTPUT",
        "iptables-nft IPv4 PROXY_INIT_REDIRECT",
    )
    host.space.inside(guide_chains.remove)
    assert host.space.inside(guide_chains.chains) == ()
    left = host.space.run("iptables-nft-save")
    assert "PROXY_INIT" not in left and "8443" in left
