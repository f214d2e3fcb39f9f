"""Rules to iptables-restore's text and back, and what holds between two tables of it."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import Action, RedirectSpec, Ruleset, iptables, iptables_read, levels, ruleset
from agent.core.redirect.trace import Packet, trace
from tests.core.iptables_tables import Tables
from tests.core.redirects import BOTH, PROXY, SETTABLE, expected, packets, settable, specs

ON, BLOCK, RELEASED, PARTIAL = Level.ON, Level.BLOCK, Level.RELEASED, Level.PARTIAL


class Host:
    """Two sets of tables. `steps`: (IP version, the rules that refuse or redirect after a transaction of it),
    for each of the last change."""

    def __init__(self) -> None:
        self.tables = {4: Tables(), 6: Tables()}
        self.steps: list[tuple[int, Ruleset | None]] = []

    def put(self, rules: Ruleset | None) -> None:
        self.steps = []
        for version, tables in self.tables.items():
            text = iptables.restore(iptables.parse(tables.saved()), rules, version)
            for part in tables.transactions(text):
                tables.run(part)
                self.steps.append((version, iptables_read.read(tables.refusing(), None)))

    def read(self) -> Ruleset | None:
        return iptables_read.read(self.tables[4].saved(), self.tables[6].saved())


@given(specs, settable, settable, specs, settable, settable, packets)
@settings(max_examples=10, deadline=None)
def test_any_rules_after_any_others_are_read_as_what_was_written(
    first: RedirectSpec, into: Level, out: Level, then: RedirectSpec, into2: Level, out2: Level, packet: Packet
) -> None:
    host = Host()
    host.put(ruleset(first, into, out))
    host.put(ruleset(then, into2, out2))
    found = host.read()
    assert found == ruleset(then, into2, out2)
    assert levels(then, found) == (into2, out2)
    action, rule = trace(found, packet)
    assert (action, rule.port if rule else 0) == expected(then, into2, out2, packet)
    host.put(None)
    assert host.read() is None
    assert "FAIRLEAD" not in host.tables[4].saved() + host.tables[6].saved()


@pytest.mark.parametrize("before", SETTABLE)
@pytest.mark.parametrize("after", SETTABLE)
@pytest.mark.parametrize(
    "packet",
    [
        Packet("prerouting", "eth0", ip_address("192.0.2.10"), 8080),
        Packet("prerouting", "eth0", ip_address("2001:db8::10"), 8080),
        Packet("output", "eth0", ip_address("10.42.9.9"), 80, uid=1000),
        Packet("output", "eth0", ip_address("fd42::99"), 80, uid=1000),
        Packet("output", "lo", ip_address("127.0.0.1"), 9000, uid=PROXY),
    ],
)
def test_nothing_gets_by_between_two_tables(before: Level, after: Level, packet: Packet) -> None:
    """Each table is a transaction of its own: what is not let through before nor after is not let through once."""
    host = Host()
    host.put(ruleset(BOTH, before, before))
    start = trace(host.read(), packet)[0]
    host.put(ruleset(BOTH, after, after))
    if Action.SKIP not in (start, trace(host.read(), packet)[0]):
        steps = [rules for version, rules in host.steps if version == packet.destination.version]
        assert steps
        assert all(trace(step, packet)[0] is not Action.SKIP for step in steps)


@pytest.mark.parametrize("spec", [BOTH, replace(BOTH, addresses=BOTH.addresses[:1])], ids=["both", "IPv4"])
def test_a_host_without_ipv6_tables(spec: RedirectSpec) -> None:
    host = Host()
    host.put(ruleset(spec, ON, BLOCK))
    found = iptables_read.read(host.tables[4].saved(), None)
    assert levels(spec, found) == ((ON, BLOCK) if spec.families == {4} else (PARTIAL, PARTIAL))


# damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        ("*nat\n-F PREROUTING\nCOMMIT\n", (PARTIAL, ON)),
        ("*nat\n-F OUTPUT\nCOMMIT\n", (PARTIAL, PARTIAL)),
        ("*filter\n-F INPUT\nCOMMIT\n", (PARTIAL, PARTIAL)),
        ("*filter\n-F FAIRLEAD_TRACK\nCOMMIT\n", (PARTIAL, PARTIAL)),
        ("*nat\n-F FAIRLEAD_IN\nCOMMIT\n", (PARTIAL, ON)),
        (
            "*nat\n-I PREROUTING -p tcp -m multiport --dports 8080 -j DNAT --to-destination :1\nCOMMIT\n",
            (PARTIAL, ON),
        ),
        ("*nat\n-A PREROUTING -p tcp -j DOCKER\nCOMMIT\n", (ON, ON)),
        ("*filter\n-I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\nCOMMIT\n", (ON, ON)),
        ("*filter\n-I INPUT -p tcp -j ACCEPT\nCOMMIT\n", (PARTIAL, ON)),
        ("*filter\n-I INPUT -p tcp -j DROP\nCOMMIT\n", (ON, ON)),
        ("*nat\n-A FAIRLEAD_OUT -p tcp -j ACCEPT\nCOMMIT\n", (ON, PARTIAL)),
        ("*nat\n:FAIRLEAD_X - [0:0]\nCOMMIT\n", (PARTIAL, PARTIAL)),
        ("*nat\n-A PREROUTING -j FAIRLEAD_IN\nCOMMIT\n", (PARTIAL, ON)),
    ],
)
def test_damage_is_seen_and_mended(damage: str, seen: tuple[Level, Level]) -> None:
    host = Host()
    host.put(ruleset(BOTH, ON, ON))
    host.tables[4].run(damage)
    assert levels(BOTH, host.read()) == seen
    host.put(ruleset(BOTH, ON, ON))
    found = levels(BOTH, host.read())
    assert found == (ON, ON)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--to-destination :4143", "--to-destination :4144"),
        ("--to-destination :4143", "--to-destination 192.0.2.1:4143"),
        ("--dports 5432,8080:8081", "--dports 5432,8080"),
        ("-d 192.0.2.10/32", "-d 192.0.2.10/31"),
        ("-d 192.0.2.10/32", "! -d 192.0.2.10/32"),
        ("--tcp-flags FIN,SYN,RST,ACK SYN", "--tcp-flags SYN SYN"),
        ("-i lo", "-i lo+"),
        ("-p tcp", "-p udp"),
        ('--comment "inbound: from this host" -j RETURN', '--comment "inbound: from this host" -j ACCEPT'),
    ],
)
def test_a_changed_rule_is_another_rule(old: str, new: str) -> None:
    host = Host()
    host.put(ruleset(BOTH, ON, ON))
    text = host.tables[4].saved()
    lines = [line.replace(old, new) if "FAIRLEAD_IN " in line else line for line in text.splitlines()]
    assert "\n".join(lines) != text.rstrip("\n")
    found = iptables_read.read("\n".join(lines), host.tables[6].saved())
    assert levels(BOTH, found)[0] is PARTIAL


def test_half_of_the_combinations_are_not_the_whole_rule() -> None:
    """A rule of two networks and two chunks of ports is four lines."""
    spec = replace(BOTH, ports=frozenset(range(1000, 1060, 2)), inbound_listener=5000)
    host = Host()
    host.put(ruleset(spec, ON, ON))
    lines = host.tables[4].saved().splitlines()
    hits = [line for line in lines if ":5000" in line]
    assert len(hits) == 2
    found = iptables_read.read("\n".join(line for line in lines if line != hits[0]), host.tables[6].saved())
    assert levels(spec, found) == (PARTIAL, ON)


def test_a_multiport_match_holds_fifteen() -> None:
    spec = replace(BOTH, ports=frozenset(range(1000, 1100, 2)) | frozenset(range(2000, 2200)))
    text = iptables.restore(iptables.parse(""), ruleset(spec, ON, ON), 4)
    chunks = [
        word
        for line in text.splitlines()
        if ":4143" in line
        for word in line.split()
        if word[:1].isdecimal() and "," in word
    ]
    assert all(len(chunk.replace(":", ",").split(",")) <= 15 for chunk in chunks)
    assert len(chunks) == 4


def test_every_address_is_written_as_two_halves() -> None:
    spec = replace(BOTH, networks=(ip_network("0.0.0.0/0"),))
    text = iptables.restore(iptables.parse(""), ruleset(spec, ON, ON), 4)
    assert "-d 0.0.0.0/1" in text and "-d 128.0.0.0/1" in text and "/0 " not in text
