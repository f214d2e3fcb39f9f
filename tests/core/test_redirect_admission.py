"""Whether peers are accepted, by the output of iptables-save for ufw, firewalld and fail2ban; and as text."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.core.redirect.admission import Admission, Seen, admission, outcome
from agent.core.redirect.firewall_iptables import verdict
from agent.core.redirect.walk import Arrival, Verdict
from tests.core.test_redirect_firewall import ACCEPTED, OPEN, PEER, REFUSED, SHUT, UNKNOWN, base, rule, when

PEER6 = Arrival("eth0", ip_address("2001:db8::7"), ip_address("2001:db8::10"))
PEERS = ip_network("198.51.100.0/24")

UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw-after-input - [0:0]
:ufw-before-input - [0:0]
:ufw-before-logging-input - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-before-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW AUDIT] -j ACCEPT "
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --rsource
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
MORE
COMMIT
"""


def ufw(more: str = "") -> str:
    return UFW.replace("MORE\n", f"{more}\n" if more else "")


def table(policy: str, *rules: str) -> str:
    lines = [f":INPUT {policy} [0:0]", ":mine - [0:0]", ":f2b-sshd - [0:0]", *rules]
    return "\n".join(["*nat", ":INPUT ACCEPT [0:0]", "COMMIT", "*filter", *lines, "COMMIT", ""])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ACCEPTED),
        (table("ACCEPT"), ACCEPTED),
        (table("DROP"), REFUSED),
        (ufw(), REFUSED),
        (ufw("-A ufw-user-input -s 198.51.100.0/24 -p tcp -m tcp --dport 4143 -j ACCEPT"), ACCEPTED),
        (ufw("-A ufw-user-input -s 10.0.0.0/8 -p tcp -m tcp --dport 4143 -j ACCEPT"), REFUSED),
        (ufw("-A ufw-user-input -p tcp -m multiport --dports 80,4143 -m comment --comment a -j ACCEPT"), ACCEPTED),
        (ufw("-A ufw-user-input -p tcp -m tcp --dport 4143 -m recent --update --seconds 30 -j DROP"), REFUSED),
        (ufw("-A ufw-user-input -p tcp -m tcp --dport 4143 -m set --match-set peers src -j ACCEPT"), UNKNOWN),
        (table("ACCEPT", "-A INPUT -m rt --rt-type 0 -j DROP"), ACCEPTED),
        # as firewalld's older backend writes it
        (table("DROP", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"), ACCEPTED),
        # fail2ban
        (table("ACCEPT", "-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", "-A f2b-sshd -j DROP"), ACCEPTED),
        # people
        (table("DROP", "-A INPUT -i eth0 -p tcp -m tcp --dport 4000:5000 -j ACCEPT"), ACCEPTED),
        (table("DROP", "-A INPUT -i eth1 -p tcp -m tcp --dport 4143 -j ACCEPT"), REFUSED),
        (table("DROP", "-A INPUT ! -i lo -p tcp -m tcp --dport 4143 -j ACCEPT"), ACCEPTED),
        (table("DROP", "-A INPUT ! -s 198.51.100.0/24 -p tcp -m tcp --dport 4143 -j ACCEPT"), REFUSED),
        (table("DROP", "-A INPUT -i eth+ -m state --state NEW,ESTABLISHED -j ACCEPT"), ACCEPTED),
        # the packet that opens a connection gets in, and no other of it
        (table("DROP", "-A INPUT -i eth+ -m state --state NEW -j ACCEPT"), REFUSED),
        (table("ACCEPT", "-A INPUT -m conntrack --ctstate ESTABLISHED -j DROP"), REFUSED),
        (table("ACCEPT", "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"), REFUSED),
        (table("ACCEPT", "-A INPUT -p tcp -j mine", "-A mine -j REJECT --reject-with tcp-reset"), REFUSED),
        (table("DROP", "-A INPUT -j mine", "-A INPUT -j ACCEPT", "-A mine -j RETURN"), ACCEPTED),
        (table("DROP", "-A INPUT -g mine", "-A INPUT -j ACCEPT"), REFUSED),
        (table("ACCEPT", "-A INPUT -p tcp -j NFQUEUE --queue-num 0"), UNKNOWN),
        (table("ACCEPT", "-A INPUT -m mark --mark 0x1 -j DROP"), UNKNOWN),
        (table("DROP", "-A INPUT -m mark --mark 0x1 -j DROP"), REFUSED),
        (table("DROP", "-A INPUT -p udp -m mark --mark 0x1 -j ACCEPT"), REFUSED),
    ],
)
def test_by_iptables(text: str, expected: Verdict) -> None:
    assert verdict(text, PEER) is expected


def test_what_is_not_known_of_a_peer_makes_it_unknown_only_where_it_is_asked_for() -> None:
    anybody = replace(PEER, source=None, interface=None)
    assert verdict(ufw("-A ufw-user-input -s 10.0.0.0/8 -p tcp --dport 4143 -j ACCEPT"), anybody) is UNKNOWN
    assert verdict(ufw("-A ufw-user-input -p tcp --dport 4143 -j ACCEPT"), anybody) is ACCEPTED
    assert verdict(table("DROP", "-A INPUT -p tcp --dport 4143 -j ACCEPT"), anybody) is ACCEPTED


def raw(chain: str, rule: str, name: str = "raw") -> str:
    return f"*{name}\n:{chain} ACCEPT [0:0]\n-A {chain} {rule}\nCOMMIT\n"


def test_later_packets_of_a_redirected_connection_are_known_as_translated_from_the_first_hook_on() -> None:
    text = raw("PREROUTING", "-m conntrack --ctstate DNAT -j DROP", "mangle")
    assert verdict(text, PEER) is REFUSED
    assert verdict(text, replace(PEER, translated=False)) is ACCEPTED


def test_a_chain_that_translates_sources_may_refuse() -> None:
    chain = base("accept", 100)["chain"] | {"type": "nat"}
    assert told({"nftables": [{"chain": chain}, rule(SHUT)]}).verdict is REFUSED
    assert told({"nftables": [{"chain": chain}, rule({"snat": {"addr": "192.0.2.9"}})]}).verdict is ACCEPTED


def test_a_local_address_of_ipv6_is_unicast_too() -> None:
    for kinds, expected in (("UNICAST", REFUSED), ("LOCAL,UNICAST", REFUSED), ("MULTICAST", ACCEPTED)):
        assert verdict(table("ACCEPT", f"-A INPUT -m addrtype --dst-type {kinds} -j DROP"), PEER6) is expected
    assert verdict(table("ACCEPT", "-A INPUT -m addrtype --dst-type UNICAST -j DROP"), PEER) is ACCEPTED


@pytest.mark.parametrize(
    ("text", "direct", "redirected"),
    [
        (raw("PREROUTING", "-p tcp --dport 4143 -j NOTRACK"), True, False),
        (raw("PREROUTING", "-p tcp --dport 8080 -j NOTRACK"), False, True),
        (raw("PREROUTING", "-p tcp ! --syn -j NOTRACK"), None, True),
        (raw("OUTPUT", "-p tcp --sport 4143 -j NOTRACK"), None, True),
    ],
)
def test_what_is_not_tracked(text: str, direct: bool | None, redirected: bool) -> None:
    """The proxy resets a connection whose first packet is not tracked; with others it may serve it."""
    dialled = replace(PEER, port=8080, translated=False)
    seen = Seen(None, {("legacy", 4): text})
    assert outcome(seen, replace(dialled, port=4143)).untracked is direct
    assert outcome(seen, replace(PEER, before=dialled)).untracked is redirected


# words ---------------------------------------------------------------------------------------------


def told(listing: object = None, **saved: str) -> Admission:
    """`saved`: nft4, legacy6 and so on."""
    seen = Seen(listing, {(name[:-1], int(name[-1])): text for name, text in saved.items()})
    return admission(seen, [PEER, replace(PEER, translated=False)], [PEERS])


def test_open() -> None:
    assert told(nft4=ufw("-A ufw-user-input -p tcp --dport 4143 -j ACCEPT"), legacy6=table("DROP")) == Admission(
        ACCEPTED, 4143
    )
    assert told().words.endswith("port 4143: open")


def test_closed_with_the_commands_of_the_firewall_that_is_there() -> None:
    assert told(legacy4=ufw()).commands == ("ufw allow from 198.51.100.0/24 to any app fairlead",)
    assert told(legacy4=table("DROP")).commands == (
        "iptables -I INPUT -s 198.51.100.0/24 -p tcp --dport 4143 -j ACCEPT",
    )
    firewalld = {"nftables": [{"chain": {**base("drop")["chain"], "table": "firewalld"}}]}
    assert told(firewalld).commands == (
        "firewall-cmd --permanent --add-service=fairlead",
        "firewall-cmd --reload",
    )
    by_hand = {"nftables": [base("drop"), rule(when("dport", 22), OPEN)]}
    assert told(by_hand).commands == (
        "nft insert rule inet t input ip saddr 198.51.100.0/24 tcp dport 4143 accept",
    )
    assert told(by_hand).words.endswith("closed by inet t input: policy drop; to open it, add this:")


def test_closed_to_everybody_where_nobody_says_where_peers_are() -> None:
    seen = Seen(None, {("legacy", 4): ufw()})
    assert admission(seen, [PEER], []).commands == ("ufw allow fairlead",)


def test_both_ways_in_must_be_open() -> None:
    """firewalld lets in what was translated; a peer that dials 4143 itself it does not."""
    assert told(nft4=table("DROP", "-A INPUT -m conntrack --ctstate DNAT -j ACCEPT")).verdict is REFUSED


def test_cannot_tell() -> None:
    found = told(nft4=table("ACCEPT", "-A INPUT -m mark --mark 0x1 -j DROP"))
    assert found.verdict is UNKNOWN
    assert "cannot tell" in found.words


def test_what_iptables_nft_says_of_its_own_tables_goes_before_what_nft_says() -> None:
    unreadable = rule({"xt": None}, OPEN, family="ip")
    listing = {"nftables": [base("drop", family="ip"), unreadable]}
    listing = {"nftables": [_in_filter(entry) for entry in listing["nftables"]]}
    assert told(listing).verdict is UNKNOWN
    assert told(listing, nft4=table("DROP", "-A INPUT -m mark --mark 1 -j ACCEPT")).verdict is UNKNOWN
    assert told(listing, nft4=table("DROP", "-A INPUT -p tcp --dport 4143 -j ACCEPT")).verdict is ACCEPTED
    assert told(listing, nft4=table("DROP")).commands == (
        "iptables -I INPUT -s 198.51.100.0/24 -p tcp --dport 4143 -j ACCEPT",
    )


def test_of_ipv6_as_well() -> None:
    unreadable = rule({"xt": None}, OPEN, family="ip6")
    listing = {"nftables": [_in_filter(entry) for entry in (base("drop", family="ip6"), unreadable)]}
    saved = {("nft", 6): table("DROP", "-A INPUT -p tcp --dport 4143 -j ACCEPT")}
    assert admission(Seen(listing, {}), [PEER6], []).verdict is UNKNOWN
    assert admission(Seen(listing, saved), [PEER6], []).verdict is ACCEPTED


def _in_filter(entry: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """As iptables-nft names it."""
    key = {"chain": "name", "rule": "chain"}
    return {kind: {**body, "table": "filter", key[kind]: "INPUT"} for kind, body in entry.items()}


# more of nft ---------------------------------------------------------------------------------------


def vmap(left: object, *pairs: tuple[object, object]) -> dict[str, object]:
    return {"vmap": {"key": left, "data": {"set": [list(pair) for pair in pairs]}}}


TO_C = {"jump": {"target": "c"}}
LOCAL = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}
PEER_IN_SET = when("saddr", "@peers", "ip")
EVERY = [{"prefix": {"addr": "198.51.100.0", "len": 24}}]
NAMED = {"set": {"family": "inet", "table": "t", "name": "peers", "type": "ipv4_addr", "elem": EVERY}}
STATE, IN = {"ct": {"key": "state"}}, {"meta": {"key": "iifname"}}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([base("accept"), rule(vmap(STATE, ("established", OPEN), ("new", SHUT)))], REFUSED),
        ([base("drop"), rule(vmap(IN, ("eth1", SHUT), ("eth0", TO_C))), rule(OPEN, chain="c")], ACCEPTED),
        ([base("drop"), rule(vmap(IN, ("eth1", OPEN)))], REFUSED),
        ([base("drop"), rule({"vmap": {"key": IN, "data": "@gone"}})], UNKNOWN),
        ([base("drop"), NAMED, rule(PEER_IN_SET, OPEN)], ACCEPTED),
        ([base("drop"), {"set": {**NAMED["set"], "flags": ["dynamic"]}}, rule(PEER_IN_SET, OPEN)], UNKNOWN),
        ([base("drop"), rule(LOCAL, OPEN)], ACCEPTED),
        ([base("accept"), rule(when("dport", 4143), {"limit": {"rate": 1}}, SHUT)], UNKNOWN),
        ([base("accept"), rule({"limit": {"rate": 1}}, {"log": None})], ACCEPTED),
        ([base("accept"), rule({"queue": {"num": 0}})], UNKNOWN),
    ],
)
def test_by_nft(entries: list[object], expected: Verdict) -> None:
    assert told({"nftables": entries}).verdict is expected
