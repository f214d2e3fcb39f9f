"""The verdicts on other programs' rules match what happens to packets: each beside a real connection."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.adapters.redirector import HelperRedirector
from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.core.redirect import ruleset
from agent.core.redirect.admission import Admission
from agent.core.redirect.walk import Verdict
from agent.privileged import Refusal
from agent.privileged.redirect import admission, departures, kernel, specification
from tests.privileged.firewalls import force
from tests.privileged.helper_requests import ask
from tests.privileged.hosts import APP, FAMILIES, INBOUND, Host, Listeners, dial

CASES = Path(__file__).parents[1] / "cases"
OPEN, SHUT, UNSURE = Verdict
V4 = FAMILIES[0]
PEERS = (ip_network("10.9.0.0/24"), ip_network("fd09::/64"))
FROM = "ip saddr 10.9.0.0/24 tcp dport 4143 accept"
ANSWER = FROM.replace("saddr", "daddr").replace("dport", "sport")
SYN, BOTH = "tcp flags & (fin|syn|rst|ack) == syn", "ip saddr . tcp dport { 10.9.0.0/24 . 4143 }"
BY_IPTABLES = "-s 10.9.0.0/24 -p tcp --dport 4143 -j ACCEPT"
REST = "table inet more { chain c { type filter hook %s priority %s; policy accept; iifname lo accept; %s; }\n}\n"


@pytest.fixture
def ears(host: Host) -> Iterator[Listeners]:
    with Listeners() as made:
        made.add_families(host.space, APP)
        yield made


def load(host: Host, case: str, kind: str = "nft") -> None:
    """A file of tests/cases, or a ruleset of nft's."""
    path = CASES / case
    if case.endswith((".iptables-save", ".rules")) and path.read_text().startswith("*"):
        host.space.run(f"iptables-{kind}-restore", "--wait", "5", "--noflush", str(path))
    else:
        host.space.run("nft", "-f", "-", input=path.read_text() if case.endswith((".nft", ".rules")) else case)


def put(host: Host, backend: str) -> None:
    rules = ruleset(specification.spec(host.prefix), Level.ON, Level.ON)
    host.space.inside(lambda: kernel.replace(rules, backend))


def told(host: Host) -> Admission:
    return host.space.inside(lambda: admission.admission(admission.seen(), specification.spec(host.prefix), PEERS))


def comes_in(host: Host, port: int = INBOUND) -> bool:
    with suppress(OSError):
        dial(host.peer, V4.host, port, within=0.5).close()
        return True
    return False


def goes_out(host: Host) -> bool:
    with suppress(OSError):
        dial(host.space, V4.cluster, 80, within=0.5).close()
        return True
    return False


def refused(host: Host) -> str:
    """Why the redirect would not be set; "": it would."""
    spec, seen = specification.spec(host.prefix), admission.seen

    def ask() -> str:
        try:
            admission.tracked(seen(), spec)
            departures.must_pass(seen(), spec)
        except Refusal as refusal:
            return refusal.detail
        return ""

    return host.space.inside(ask)


# inbound -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "expected", "command"),
    [
        ("dormant.nft", OPEN, ""),
        ("native-lowercase-chains-in-ip-filter.nft", SHUT, f"nft insert rule ip filter input {FROM}"),
        ("prerouting-drop.nft", SHUT, f"nft insert rule inet edge pre {FROM}"),
        ("mangle-INPUT-drop.iptables-save", SHUT, f"iptables -t mangle -I INPUT {BY_IPTABLES}"),
        ("raw-PREROUTING-allow-list.iptables-save", SHUT, f"iptables -t raw -I PREROUTING {BY_IPTABLES}"),
        (REST % ("input", "security", "tcp dport 4143 drop"), SHUT, f"nft insert rule inet more c {FROM}"),
        (REST % ("prerouting", "mangle", "udp dport != 53 drop"), OPEN, ""),
        (REST % ("prerouting", "raw", "icmp type != echo-request drop"), OPEN, ""),
        (
            REST % ("input", "filter", f"tcp dport 4000-5000 {SYN} drop"),
            SHUT,
            f"nft insert rule inet more c {FROM}",
        ),
        (REST % ("input", "filter", f"{BOTH} drop"), SHUT, f"nft insert rule inet more c {FROM}"),
        (REST % ("prerouting", "-150", "ct state invalid drop"), OPEN, ""),
        (REST % ("prerouting", "filter", "tcp dport 8080 drop"), OPEN, ""),
        (REST % ("output", "filter", "tcp sport 4143 drop"), SHUT, f"nft insert rule inet more c {ANSWER}"),
    ],
)
def test_cases_of_a_firewall_that_peers_meet(
    host: Host, ears: Listeners, backend: str, case: str, expected: Verdict, command: str
) -> None:
    put(host, backend)
    load(host, case, "legacy" if backend == "iptables-legacy" else "nft")
    found = told(host)
    assert comes_in(host) is (expected is OPEN)
    assert comes_in(host, APP) is (expected is OPEN or "prerouting" in case.lower())
    assert found.verdict is expected, found
    assert (command in found.commands) if command else not found.commands
    for line in found.commands:
        host.space.run(
            "sh", "-c", line.replace("iptables ", "iptables-legacy " if "legacy" in backend else "iptables ")
        )
    assert comes_in(host) and comes_in(host, APP)
    assert told(host).verdict is OPEN


async def test_cases_of_a_redirect_in_force_are_told_to_the_agent(host: Host, ears: Listeners) -> None:
    """What comes later is drift: closed, unclear, untracked, and then well again."""
    put(host, "nftables")
    redirector = HelperRedirector(host.helper())
    assert await redirector.firewall() is None
    host.space.run("nft", "-f", "-", input=REST % ("input", "filter", "tcp dport 4143 drop"))
    found = await redirector.firewall()
    assert found is not None and (found.reason, found.detail) == (
        Reason.FIREWALL_CLOSED,
        "inet more c: tcp dport 4143 drop",
    )
    assert found.way_out.startswith("nft insert rule inet more c ip saddr 10.42.0.0/16 tcp dport 4143 accept")
    host.space.run("nft", "-f", "-", input="flush chain inet more c; add rule inet more c meta mark 7 drop;")
    found = await redirector.firewall()
    assert found is not None and found.reason is Reason.FIREWALL_UNCLEAR and "meta mark 7" in found.detail
    host.space.run("nft", "flush chain inet more c; add rule inet more c ip saddr 10.42.7.9 drop;")
    found = await redirector.firewall()  # a ban of one peer does not take the host from the others
    assert found is not None and found.reason is Reason.FIREWALL_UNCLEAR and "10.42.7.9" in found.detail
    host.space.run("nft", "delete table inet more")
    load(host, "notrack-on-lo-both-ways.nft")
    found = await redirector.firewall()
    assert found is not None and found.reason is Reason.CONNECTIONS_UNTRACKED and "oif lo notrack" in found.detail


def test_cases_of_what_is_not_tracked_are_refused_at_apply(host: Host, backend: str) -> None:
    force(host, backend)
    load(host, "notrack-on-lo-both-ways.nft")
    with Listeners() as ears:
        ears.add(host.space, "::", APP)
        ears.add_proxy(host.space)
        code, answer = ask(host, {"verb": "redirect apply", "confirm": "none"})
        assert (code, answer.get("reason")) == (1, "RedirectRefused"), answer
        assert "oif lo notrack" in str(answer["detail"])
        assert host.space.inside(lambda: kernel.read(backend)) is None


# outbound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("dormant-output.nft", ""),
        ("native-output-drop-lowercase.nft", "ip filter output: policy drop"),
        ("notrack-on-lo-both-ways.nft", "inet rawt out: oif lo notrack"),
        (REST % ("output", "raw", "ip daddr 10.42.0.0/16 notrack"), "ip daddr 10.42.0.0/16 notrack"),
        (REST % ("output", "raw", "tcp sport 4140 notrack"), "tcp sport 4140 notrack"),
        (REST % ("prerouting", "raw", "tcp dport 4140 notrack"), ""),
        (REST % ("output", "-150", "notrack"), ""),
    ],
)
def test_cases_of_what_goes_out(host: Host, ears: Listeners, backend: str, case: str, why: str) -> None:
    load(host, case)
    said = refused(host)
    put(host, backend)
    assert goes_out(host) is (why == ""), said
    assert why in said if why else said == ""
    assert "firewalld" not in said
