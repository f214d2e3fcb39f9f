"""fairlead plan and fairlead redirect, as typed on a host."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privileged.hosts import REDIRECTED, Host, Listeners, wired_host
from tests.privileged.test_opaque import SMTP, greeting

NO_RIGHTS = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    with wired_host(tmp_path) as made:
        yield made


@pytest.fixture
def proxy(host: Host) -> Iterator[None]:
    with Listeners() as ears:
        ears.add_proxy(host.space)
        yield


def fairlead(host: Host, words: str, *around: str) -> tuple[int, str, str]:
    verb, *more = words.split()
    at = 1 if verb == "redirect" else 0
    arguments = [verb, *more[:at], "--prefix", str(host.prefix), *more[at:]]
    command = host.space.command(*around, sys.executable, "-m", "agent", *arguments)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env={**os.environ}
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def good(host: Host, words: str) -> str:
    code, output, errors = fairlead(host, words)
    assert (code, errors) == (0, "")
    return output


def rules(host: Host) -> str:
    return host.space.run("nft", "list", "ruleset")


def test_apply_without_a_configuration_names_the_file(host: Host) -> None:
    host.config.unlink()
    code, _, errors = fairlead(host, "redirect apply")
    assert code == 64 and f"cannot read {host.config}" in errors, errors
    assert "ConfigurationUnusable" in errors and "check-config" in errors and "journalctl" not in errors


def test_plan_shows_all_and_touches_nothing(host: Host) -> None:
    output = good(host, "plan")
    assert "to 10.9.0.2/32, port 8080 → to the proxy's port 4143" in output
    assert "live: no rules" in output
    assert rules(host) == ""


def test_plan_names_addresses_that_this_host_does_not_have(host: Host) -> None:
    assert "AddressAbsent" not in good(host, "plan") and json.loads(good(host, "plan --json"))["absent"] is None
    host.config.write_text(host.config.read_text().replace("10.9.0.2", "10.9.0.77"))
    output = good(host, "plan")
    assert "AddressAbsent: " in output and "(10.9.0.77)" in output and "→ correct host.addresses" in output
    text = host.config.read_text().replace("[host]", "[host]\naddress_translated = true")
    host.config.write_text(text)
    assert "AddressAbsent" not in good(host, "plan")


def test_plan_names_what_differs_from_what_is_live(host: Host, proxy: None) -> None:
    good(host, "redirect apply")
    assert "inbound on, outbound on, as planned" in good(host, "plan")
    assert json.loads(good(host, "plan --json"))["difference"] == []
    host.config.write_text(host.config.read_text().replace("[8080]", "[8080, 9090]"))
    output = good(host, "plan")
    assert "RedirectUnapproved" in output and "(workload.ports)" in output
    assert "  → compare them: fairlead plan; to approve it: fairlead redirect apply" in good(host, "redirect show")
    assert json.loads(good(host, "redirect show --json"))["edited"] == "workload.ports"
    assert "  -  inbound: declared ports, IPv4: tcp that opens a connection, to 10.9.0.2/32, port 8080 →" in output
    assert (
        "  +  inbound: declared ports, IPv4: tcp that opens a connection, to 10.9.0.2/32, port 8080 9090" in output
    )


SESSION = "SSH_CONNECTION=10.9.0.1 50000 10.9.0.2 8080"
# Root's shell that came by SSH, and a program that drops what that says, as sudo does; both wait for their child.
ENVIRONMENTS = {
    "its own": ("env", SESSION),
    "dropped": ("env", SESSION, "sh", "-c", 'env -u SSH_CONNECTION "$@"; exit $?', "sh"),
}
SERVER = """
import socket, subprocess, sys
server = socket.create_server(("10.9.0.2", 8080))
client = socket.create_connection(("10.9.0.2", 8080))
connection, _ = server.accept()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


@pytest.mark.parametrize(
    "around", [*ENVIRONMENTS.values(), (sys.executable, "-c", SERVER)], ids=[*ENVIRONMENTS, "by its connection"]
)
def test_cases_the_port_of_the_session_is_not_redirected(host: Host, proxy: None, around: tuple[str, ...]) -> None:
    """The privileged helper never has that session: who calls it says so."""
    code, output, _ = fairlead(host, "plan", *around)
    assert code == 1 and "cannot redirect port 8080: this session uses it" in output
    for words in ("redirect apply", "redirect apply --confirm 60s", "redirect adopt-guide"):
        code, _, errors = fairlead(host, words, *around)
        assert code == 1 and "cannot redirect port 8080: this session uses it" in errors, words
    assert rules(host) == ""
    assert "set: inbound on" in good(host, "redirect apply")


def test_cases_names_that_are_not_utf8_are_printed_escaped(host: Host, proxy: None) -> None:
    rule = b"*nat\n:PROXY_INIT_\xe9 - [0:0]\nCOMMIT\n"
    subprocess.run(
        host.space.command("iptables-nft-restore", "--noflush"), input=rule, check=True, env={**os.environ}
    )
    assert "PROXY_INIT_\\xe9" in good(host, "plan")
    assert json.loads(good(host, "plan --json"))["hand_made"] == ["iptables-nft IPv4 PROXY_INIT_\\xe9"]
    assert "removed: iptables-nft IPv4 PROXY_INIT_\\xe9" in good(host, "redirect adopt-guide")
    assert "PROXY_INIT" not in host.space.run("iptables-nft-save")


def test_plan_works_without_rights_but_for_what_is_live(host: Host) -> None:
    code, output, _ = fairlead(host, "plan", *NO_RIGHTS)
    assert code == 0
    assert "to the proxy's port 4143" in output
    assert "the live rules are not known: cannot read the rules: CAP_NET_ADMIN is missing" in output


def test_plan_says_what_would_be_refused(host: Host) -> None:
    host.config.write_text(host.config.read_text().replace("10.42.0.0/16", "10.9.0.0/16"))
    code, output, _ = fairlead(host, "plan")
    assert code == 1
    assert "RedirectRefused: cannot redirect 10.9.0.0/16" in output


def test_plan_finds_the_guides_chains_and_they_are_adopted(host: Host, proxy: None) -> None:
    for words in (
        "-t nat -N PROXY_INIT_REDIRECT",
        "-t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143",
        "-t nat -A PREROUTING -j PROXY_INIT_REDIRECT",
    ):
        host.space.run("iptables-nft", *words.split())
    assert "PROXY_INIT_REDIRECT" in good(host, "plan")
    output = good(host, "redirect adopt-guide")
    assert output.startswith("set: inbound on, outbound on; removed: iptables-nft IPv4 PROXY_INIT_REDIRECT")
    assert "PROXY_INIT" not in rules(host)
    assert "PROXY_INIT" not in good(host, "plan")


def test_a_server_that_speaks_first_is_refused_with_its_commands_and_may_be_forced(
    host: Host, proxy: None
) -> None:
    (host.prefix / REDIRECTED).unlink()
    annotate = "kubectl annotate externalworkload db-1 -n shop config.linkerd.io/opaque-ports=8080"
    with greeting(host, SMTP):
        assert annotate in fairlead(host, "plan")[1]
        code, _, errors = fairlead(host, "redirect apply")
        assert code == 1 and "ServerSpeaksFirst" in errors, errors
        assert f"  {annotate}; set workload.opaque_ports = [8080]; then:" in errors
        assert good(host, "redirect apply --force").startswith("set: inbound on")


def test_on_trial_confirmed_and_shown(host: Host, proxy: None) -> None:
    assert "for 60 s; keep it with: fairlead redirect confirm" in good(host, "redirect apply --confirm 1m")
    output = good(host, "redirect show")
    assert "on trial:" in output and "suspended" not in output
    assert good(host, "redirect confirm") == "kept: inbound on, outbound on\n"
    shown = json.loads(good(host, "redirect show --json"))
    assert (shown["inbound"], shown["trial"], shown["suspended"]) == ("on", None, "")
    assert [one["name"] for one in shown["counters"]][:1] == ["guard: ports that the proxy may dial here"]


def test_rules_that_are_live_already_are_not_put_on_trial(host: Host, proxy: None) -> None:
    assert "confirm" not in good(host, "redirect apply")
    assert "none is on trial and there is nothing to confirm" in good(host, "redirect apply --confirm 60s")
    assert "trial" not in json.loads(good(host, "redirect apply --confirm 60s --json"))


def test_on_trial_and_taken_back(host: Host, proxy: None) -> None:
    good(host, "redirect apply --confirm 60s")
    assert good(host, "redirect revert") == "reverted: inbound released, outbound released\n"
    assert "suspended: reverted" in good(host, "redirect show")
    code, _, errors = fairlead(host, "redirect confirm")
    assert (code, errors.splitlines()[0]) == (
        1,
        "fairlead: cannot confirm the redirect: none is on trial [RedirectFailed]",
    )


def test_removed(host: Host, proxy: None) -> None:
    good(host, "redirect apply")
    assert good(host, "redirect remove").startswith("removed; while the proxy runs, the rules stay")
    assert "dnat" not in rules(host) and "guard: the proxy to an undeclared port" in rules(host)
    assert "suspended: removed" in good(host, "plan")


@pytest.mark.parametrize(
    ("words", "action", "why"),
    [
        ("--in tcp 10.9.0.2:8080", "redirect", 'goes to the proxy on port 4143, by the rule "inbound: declared'),
        ("--in tcp [fd09::2]:8080", "redirect", "goes to the proxy on port 4143"),
        ("--in tcp 10.9.0.2:22", "skip", "is left alone: no rule speaks of it"),
        ("--in tcp 10.9.0.2:8080 --from 127.0.0.1", "skip", 'by the rule "inbound: from this host"'),
        ("--out tcp 10.42.0.7:80", "redirect", "goes to the proxy on port 4140"),
        ("--out tcp 10.42.0.7:80 --uid 2102", "skip", 'by the rule "outbound: from the proxy"'),
        ("--out tcp 10.42.0.9:443", "skip", 'by the rule "outbound: exempt'),
        ("--out tcp 10.9.0.2:8080", "skip", 'by the rule "outbound: to this host"'),
        ("--out tcp 10.9.0.2:25 --uid 2102", "reset", "is refused with a reset"),
    ],
)
def test_trace(host: Host, words: str, action: str, why: str) -> None:
    """By the planned rules if the user may not read the live ones."""
    code, output, _ = fairlead(host, f"redirect trace --json {words}", *NO_RIGHTS)
    found = json.loads(output)
    assert (code, found["action"], found["rules"]) == (0, action, "planned")
    assert why in found["text"]


def test_trace_asks_what_is_live(host: Host, proxy: None) -> None:
    assert "there are no rules" in good(host, "redirect trace --in tcp 10.9.0.2:8080")
    good(host, "redirect apply")
    assert "goes to the proxy on port 4143" in good(host, "redirect trace --in tcp 10.9.0.2:8080")


def test_not_permitted(host: Host) -> None:
    for words in ("redirect apply", "redirect remove", "redirect show"):
        code, _, errors = fairlead(host, words, *NO_RIGHTS)
        assert code == 77
        assert errors.endswith("  run it with sudo\n")


@pytest.mark.parametrize(
    "words",
    [
        "redirect apply --confirm 3s",
        "redirect apply --confirm 61m",
        "redirect apply --confirm soon",
        "redirect trace tcp 10.0.0.1:80",
        "redirect trace --in tcp 10.0.0.1",
        "redirect trace --in tcp 10.0.0.1:0",
        "redirect trace --in tcp host:80",
    ],
)
def test_no_such_command_line(host: Host, words: str) -> None:
    assert fairlead(host, words)[0] == 2


def test_a_configuration_that_cannot_be_used(host: Host) -> None:
    host.config.write_text("broken")
    for words in ("plan", "redirect show", "redirect trace --in tcp 10.0.0.1:80"):
        assert fairlead(host, words)[0] == 64


def test_plan_says_whether_the_hosts_firewall_lets_peers_in(host: Host) -> None:
    assert "peers reach port 4143: open" in good(host, "plan")
    close_to_peers(host)
    firewall = json.loads(good(host, "plan --json"))["firewall"]
    assert firewall["verdict"] == "refused"
    (command,) = firewall["commands"]
    assert command == "iptables -I INPUT -s 10.42.0.0/16 -p tcp --dport 4143 -j ACCEPT"
    host.space.run("iptables-nft", *command.split()[1:])
    assert "peers reach port 4143: open" in good(host, "plan")
    code, output, _ = fairlead(host, "plan", *NO_RIGHTS)
    assert code == 0 and "4143: cannot tell (cannot read the host's firewall: CAP_NET_ADMIN" in output


def test_apply_is_no_success_while_the_firewall_keeps_peers_out(host: Host, proxy: None) -> None:
    """The redirect is still set: direct connections now go to the proxy, and peers are blocked. The remedy is a
    command that accepts them; after it there is no warning."""
    close_to_peers(host)
    for words in ("redirect apply", "redirect apply --confirm 60s"):
        code, output, errors = fairlead(host, words)
        assert code == 1 and output.startswith("set: inbound on, outbound on"), output
        warning, *remedies = errors.splitlines()
        assert warning.startswith("warning: the host's firewall: blocks peers: "), errors
        assert remedies == ["  → iptables -I INPUT -s 10.42.0.0/16 -p tcp --dport 4143 -j ACCEPT"]
    host.space.run("iptables-nft", *remedies[0].split()[2:])
    assert good(host, "redirect apply").startswith("set: inbound on")


def test_apply_warns_of_a_firewall_that_cannot_be_told(host: Host, proxy: None) -> None:
    """It may let them in, so it is no failure."""
    rule = "add table inet own; add chain inet own in { type filter hook input priority 0; policy accept; }"
    host.space.run("nft", f"{rule}; add rule inet own in meta skuid 7 tcp dport 4143 drop")
    code, output, errors = fairlead(host, "redirect apply")
    assert (code, output.splitlines()[0]) == (0, "set: inbound on, outbound on")
    assert errors.startswith("warning: the host's firewall: it is unknown whether it accepts peers: "), errors
    assert "→" not in errors
    host.space.run("nft", "delete table inet own")
    rule = "add table inet own; add chain inet own out { type filter hook output priority 0; policy accept; }"
    host.space.run("nft", f"{rule}; add rule inet own out ip daddr 127.0.0.1 meta mark 7 drop")
    code, _, errors = fairlead(host, "redirect apply")
    assert code == 0 and "unknown whether it accepts outbound connections: not understood: inet own out" in errors
    assert "IPv4 outbound connections reach the proxy: cannot tell (not understood: inet own out" in good(
        host, "plan"
    )
    host.space.run("nft", "insert rule inet own out ip daddr 127.0.0.1 drop")
    code, output, _ = fairlead(host, "plan --json")
    assert (code, json.loads(output)["firewall"]["outbound"][0]["verdict"]) == (1, "refused")


def test_apply_warns_of_a_ban_of_one_peer_or_destination(host: Host, proxy: None) -> None:
    """The others are served, so it is no failure, and no reason to take the host from them."""
    rule = "add table inet own; add chain inet own in { type filter hook input priority 0; policy accept; }"
    host.space.run("nft", f"{rule}; add rule inet own in ip saddr 10.42.7.9 drop")
    rule = "add chain inet own out { type filter hook output priority -150; policy accept; }"
    host.space.run("nft", f"{rule}; add rule inet own out ip daddr 10.42.8.0/24 drop")
    code, output, errors = fairlead(host, "redirect apply")
    assert (code, output.splitlines()[0]) == (0, "set: inbound on, outbound on")
    peers, outbound = errors.splitlines()
    assert peers.startswith("warning: the host's firewall: blocks some peers: ") and "10.42.7.9" in peers
    assert outbound.startswith("warning: the host's firewall: blocks some outbound connections: ")
    assert "10.42.8.0/24" in outbound


def test_a_loopback_that_is_down_is_refused_with_the_command_that_sets_it_up(host: Host, proxy: None) -> None:
    host.space.ip("link set lo down")
    code, output, _ = fairlead(host, "plan")
    assert code == 1 and "LoopbackDown: cannot redirect: the interface lo is down\n  → ip link set lo up" in output
    for words in ("redirect apply", "redirect adopt-guide"):
        code, _, errors = fairlead(host, words)
        assert code == 1 and "the interface lo is down" in errors and "\n  ip link set lo up\n" in errors, errors
    host.space.ip("link set lo up")
    assert good(host, "redirect apply").startswith("set: inbound on, outbound on")


def test_apply_where_inbound_is_not_on_asks_no_firewall(host: Host) -> None:
    """Nothing comes to port 4143 yet."""
    host.config.write_text(host.config.read_text().replace('inbound_failure = "closed"', ""))
    close_to_peers(host)
    assert good(host, "redirect apply").startswith("set: inbound released")


def close_to_peers(host: Host) -> None:
    wire = next(line.split(":")[1].split("@")[0].strip() for line in links(host) if ": w" in line)
    ours = ("-A INPUT -i lo -j ACCEPT", f"-A INPUT -i {wire} -p tcp --dport 22 -j ACCEPT")
    for words in ("-P INPUT DROP", *ours):
        host.space.run("iptables-nft", *words.split())


def test_plan_says_that_only_the_first_packet_gets_in(host: Host) -> None:
    for words in (
        "add table inet mine",
        "add chain inet mine input { type filter hook input priority 0; }",
        "add rule inet mine input tcp dport 4143 ct state established drop",
    ):
        host.space.run("nft", words)
    firewall = json.loads(good(host, "plan --json"))["firewall"]
    assert firewall["verdict"] == "refused" and "established" in firewall["text"]
    for command in firewall["commands"]:
        host.space.run("nft", command.removeprefix("nft "))
    assert "peers reach port 4143: open" in good(host, "plan")


def links(host: Host) -> list[str]:
    return host.space.run("ip", "-o", "link").splitlines()
