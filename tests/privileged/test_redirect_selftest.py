"""The self-test by packets: it reports what really happens, finds no fault in a good redirect, and leaves no
trace."""

import configparser
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import procfs
from agent.core.redirect import tcp_segments
from agent.core.redirect.tcp_segments import SYN, Segment
from agent.privileged.redirect import tun
from tests.privileged.firewalls import BACKENDS, FIREWALLD, force
from tests.privileged.helper_requests import REPOSITORY, apply, ask, start
from tests.privileged.hosts import (
    APP,
    INBOUND,
    SSH,
    UNDECLARED,
    Host,
    Listeners,
    nft_and_then,
    with_nft,
)

NOW = {"verb": "redirect apply", "confirm": "none"}
HOSTS = ("10.9.0.2", "fd09::2")
STRICT = (
    "add table inet f; add chain inet f c {{ type filter hook {}; policy drop; }};"
    "add rule inet f c iifname lo accept"
)
TESTED = "by the tracer, and by 6 connections from outside"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ears(host: Host) -> Iterator[Listeners]:
    """The application, sshd and another service listen; so does the proxy, by one socket for both IP versions."""
    with Listeners() as made:
        made.add(host.space, "::", APP, SSH, UNDECLARED)
        made.add_proxy(host.space)
        yield made


def applied(host: Host, *around: str) -> str:
    code, answer = ask(host, NOW, *around)
    assert code == 0, answer
    assert (answer["inbound"], answer["outbound"]) == ("on", "on")
    return str(answer["tested"])


def refusal(host: Host, request: dict[str, str], *around: str) -> str:
    code, answer = ask(host, request, *around)
    assert (code, answer["reason"]) == (1, "RedirectSuspended"), answer
    return str(answer["detail"])


# what it tells -------------------------------------------------------------------------------------


def test_declared_undeclared_and_ssh_are_dialled_and_nothing_is_left(
    host: Host, ears: Listeners, backend: str
) -> None:
    """And no application accepts such a connection."""
    force(host, backend)
    assert applied(host) == TESTED
    assert tun.NAME not in host.space.run("ip", "link")
    assert "SYN-RECV" not in host.space.run("ss", "-tan")
    for family in ("10.9.0.2", "fd09::2"):
        for port, arrives in ((APP, INBOUND), (SSH, SSH), (UNDECLARED, UNDECLARED)):
            assert ears.heard(host.peer, family, port)[0][1] == arrives


@pytest.mark.parametrize(
    ("port", "to", "level", "what"),
    [
        (SSH, INBOUND, "on", "SSH on 10.9.0.2 port 22 arrives at port 4143"),
        (UNDECLARED, APP, "block", "10.9.0.2 port 9000 arrives at port 8080"),
        (APP, UNDECLARED, "on", "10.9.0.2 port 8080 arrives at port 9000, not at the proxy's 4143"),
    ],
)
def test_what_others_chains_do_to_it_is_seen(
    host: Host, ears: Listeners, tmp_path: Path, port: int, to: int, level: str, what: str
) -> None:
    """Rules that read back as intended: the rules before them are in no description."""
    chain = "add table inet x; add chain inet x c { type nat hook prerouting priority -190; }"
    other = f"'{chain}; add rule inet x c tcp dport {port} dnat to :{to}'"
    assert what in refusal(host, apply(level, "released"), *with_nft(nft_and_then(tmp_path, other)))
    assert "dnat" not in host.space.run("nft", "list", "table", "inet", "fairlead")


def test_ssh_that_is_reset_since_then_is_harm(host: Host, ears: Listeners, tmp_path: Path) -> None:
    other = (
        "'add table inet x; add chain inet x c { type filter hook input priority 0; };"
        " add rule inet x c tcp dport 22 reject with tcp reset'"
    )
    said = refusal(host, apply("on", "released"), *with_nft(nft_and_then(tmp_path, other)))
    assert "SSH on 10.9.0.2 port 22 is reset, and was accepted before" in said


# good redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strict", "silent"),
    [
        (STRICT.format("input priority 0"), 2),
        (STRICT.format("prerouting priority -300"), 2),
        (
            "add table inet f; add chain inet f c { type filter hook prerouting priority -290; };"
            "add rule inet f c fib saddr . iif oif missing drop",
            0,
        ),
        (FIREWALLD, 0),
    ],
    ids=["a strict INPUT", "a strict PREROUTING", "reverse path", "firewalld"],
)
def test_a_strict_firewall_fails_no_good_redirect(
    host: Host, ears: Listeners, backend: str, strict: str, silent: int
) -> None:
    """It admits no connection, so that nothing can be proved; or it admits what the redirect has translated."""
    force(host, backend)
    host.space.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
    host.space.run("nft", "-f", "-", input=strict)
    said = applied(host)
    assert said.startswith("by the tracer, and by ")
    assert said.endswith(f", {silent} of them without an answer") is (silent > 0), said


def test_where_nobody_listens_nothing_is_blamed(host: Host) -> None:
    with Listeners() as proxy:
        proxy.add_listeners(host.space)
        code, answer = ask(host, apply("on", "on"))
    assert (code, answer["inbound"]) == (0, "on")


# where there can be none ---------------------------------------------------------------------------


def without(path: str) -> tuple[str, ...]:
    return ("unshare", "--mount", "sh", "-c", f'mount --bind /dev/null {path}; exec "$@"', "sh")


@pytest.mark.parametrize(
    ("around", "why"),
    [
        (
            ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net; exec "$@"', "sh"),
            "cannot open /dev/net/tun",
        ),
        (without("/dev/net/tun"), "cannot make the interface fairlead-test"),
        (without("$(readlink -f /usr/sbin/ip)"), "cannot set fairlead-test up"),
    ],
)
def test_the_tracer_alone_decides_and_the_answer_says_why(
    host: Host, ears: Listeners, around: tuple[str, ...], why: str
) -> None:
    assert applied(host, *around).startswith(f"by the tracer alone: {why}")


def test_somebody_elses_interface_of_that_name_stays(host: Host, ears: Listeners) -> None:
    host.space.ip(f"link add {tun.NAME} type bridge")
    assert applied(host).startswith("by the tracer alone: cannot make the interface")
    assert tun.NAME in host.space.run("ip", "link")


def test_the_helpers_own_rights_are_enough(host: Host, ears: Listeners) -> None:
    """Those of its unit: CAP_SYS_ADMIN, which a network namespace would take, is not among them."""
    unit = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
    unit.read(REPOSITORY / "systemd/fairlead-helper@.service")
    granted = unit["Service"]["CapabilityBoundingSet"].lower().split()
    assert "cap_sys_admin" not in granted
    caps = ",".join(("-all", *(f"+{one.removeprefix('cap_')}" for one in granted)))
    assert applied(host, "setpriv", "--no-new-privs", "--bounding-set", caps, "--inh-caps", caps) == TESTED


def test_a_helper_that_is_killed_leaves_no_wire(host: Host, ears: Listeners, tmp_path: Path) -> None:
    """The kernel removes it with the program."""
    real, nft, held = tmp_path / "real-nft", tmp_path / "nft", tmp_path / "held"
    shutil.copy(shutil.which("nft") or "", real)
    os.mkfifo(held)
    nft.write_text(f'#!/bin/sh\ncase "$*" in *-f*) exec cat {held};; esac\nexec {real} "$@"\n')
    nft.chmod(0o755)
    with start(host, *with_nft(nft)) as helper:
        assert helper.stdin and helper.stdin.write(
            b'{"verb": "redirect set", "inbound": "on", "outbound": "on"}\n'
        )
        helper.stdin.flush()
        with held.open("w"):  # it sets the rules now
            assert tun.NAME in host.space.run("ip", "link")
            helper.kill()
            helper.wait()
            assert tun.NAME not in host.space.run("ip", "link")


# the parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routed", "avoided", "ours"),
    [
        ((), (), "192.0.2."),
        (("192.0.2.128/25",), (), "198.51.100."),
        (("192.0.2.7/32",), ("198.51.100.0/24",), "203.0.113."),
        (("192.0.0.0/8",), ("198.0.0.0/7", "203.0.113.9/32"), None),
    ],
)
def test_the_far_end_is_in_no_network_that_the_host_routes(
    host: Host, routed: tuple[str, ...], avoided: tuple[str, ...], ours: str | None
) -> None:
    for network in routed:
        host.space.ip(f"route add {network} via 10.9.0.1")

    def far_ends() -> list[str]:
        with tun.wire(map(ip_network, avoided)):
            shown = subprocess.run(
                ["ip", "route", "show", "dev", tun.NAME], capture_output=True, text=True, env={**os.environ}
            )
            return shown.stdout.split()[:1]

    found = host.space.inside(far_ends)
    assert found == [] if ours is None else found[0].startswith(ours)


def test_where_every_network_is_excepted_there_is_no_wire(host: Host) -> None:
    def open_one() -> None:
        with tun.wire(map(ip_network, ("0.0.0.0/0", "::/0"))):
            pass

    with pytest.raises(tun.Impossible, match="no address is free"):
        host.space.inside(open_one)


ports, numbers = st.integers(1, 65535), st.integers(0, 2**32 - 1)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports, numbers)
def test_a_segment_is_read_as_it_was_packed(a: Any, b: Any, port: int, to_port: int, sequence: int) -> None:
    four = Segment(a, port, b, to_port, SYN, sequence)
    six = replace(four, source=ip_address(bytes(12) + a.packed), destination=ip_address(bytes(12) + b.packed))
    assert (tcp_segments.read(tcp_segments.packed(four)), tcp_segments.read(tcp_segments.packed(six))) == (
        four,
        six,
    )


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_segment_or_none(packet: bytes) -> None:
    found = tcp_segments.read(packet)
    assert found is None or len(packet) >= 40


def test_where_a_connection_arrived() -> None:
    lines = (
        "  sl  local_address rem_address   st",
        "   0: 0200090A:1F90 00000000:0000 0A",
        "   1: 0200090A:102F 090200C0:C350 03 0 0 0 2102",
        "   2: 0000000000000000FFFF00000200090A:0016 0000000000000000FFFF0000090200C0:C351 03 0 0 0 0",
        "   3: 0200090A:0016 080200C0:C352 01",
    )
    assert procfs.arrivals(lines, ip_address("192.0.2.9")) == {50000: (4143, 2102), 50001: (22, 0)}
