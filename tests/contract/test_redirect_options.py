"""Every choice of what is redirected, by real connections: for each backend and IP version."""

import ctypes
import socket
from functools import partial

import pytest

from agent.core.facts import Level
from agent.core.redirect import levels, ruleset
from agent.privileged.redirect import kernel, specification
from tests.lab.netns import Namespace
from tests.privileged.firewalls import force
from tests.privileged.helper_requests import CHECK, apply, ask
from tests.privileged.hosts import (
    APP,
    INBOUND,
    OUTBOUND,
    PROXY_UID,
    SSH,
    UNDECLARED,
    Family,
    Host,
    Listeners,
    dial,
)

ON, BLOCK, RELEASED = Level.ON, Level.BLOCK, Level.RELEASED
CHOSEN, GROUP = 1001, 300


def put(host: Host, backend: str, lines: str, inbound: Level = ON, outbound: Level = ON) -> None:
    """With these lines in [redirect]."""
    host.config.write_text(host.config.read_text().replace("[redirect]", f"[redirect]\n{lines}"))
    spec = host.space.inside(lambda: specification.approved(host.prefix))
    rules = ruleset(spec, inbound, outbound)
    host.space.inside(lambda: kernel.replace(rules, backend))
    assert levels(spec, host.space.inside(lambda: kernel.read(backend))) == (inbound, outbound)


def wire(space: Namespace) -> str:
    """The interface that leads to the peer."""
    names = [line.split()[1].partition("@")[0].rstrip(":") for line in space.run("ip", "-o", "link").splitlines()]
    return next(name for name in names if name.startswith("w"))


# outbound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "proxied", "direct"),
    [
        (f"outbound_except_uids = [{CHOSEN}]", [("cluster", 80, 1000)], [("cluster", 80, CHOSEN)]),
        ('outbound_except_ports = ["80-81"]', [("cluster", 443, 1000)], [("cluster", 80, 1000)]),
        ('outbound_except_networks = ["10.42.0.7/32", "fd42::7/128"]', [("exempt", 80, 0)], [("cluster", 80, 0)]),
        ('outbound_except_interfaces = ["WIRE"]', [], [("cluster", 80, 1000)]),
        ('outbound_except_interfaces = ["eth9"]', [("cluster", 80, 1000)], []),
        (
            'outbound = "all"\nforce = true',
            [("cluster", 80, 1000), ("elsewhere", 80, 0)],
            [("exempt", 443, 1000), ("elsewhere", 80, PROXY_UID), ("loopback", 80, 1000), ("inside", 80, 1000)],
        ),
        (
            f'outbound = "uids"\noutbound_uids = [{CHOSEN}]',
            [("cluster", 80, CHOSEN), ("elsewhere", 80, CHOSEN)],
            [("cluster", 80, 1000), ("exempt", 443, CHOSEN), ("loopback", 80, CHOSEN)],
        ),
        ('outbound = "off"', [], [("cluster", 80, 1000)]),
    ],
)
def test_outbound(
    host: Host,
    backend: str,
    family: Family,
    lines: str,
    proxied: list[tuple[str, int, int]],
    direct: list[tuple[str, int, int]],
) -> None:
    with Listeners() as ears:
        for address in (family.cluster, family.exempt, family.elsewhere):
            ears.add(host.peer, address, 80, 443)
        ears.add(host.space, family.loopback, OUTBOUND, 80)
        ears.add(host.space, family.inside, 80)
        put(host, backend, lines.replace("WIRE", wire(host.space)))
        for name, port, uid in proxied:
            place = getattr(family, name), port
            assert ears.heard(host.space, *place, uid) == ((family.loopback, OUTBOUND), place), (name, port, uid)
        for name, port, uid in direct:
            place = getattr(family, name), port
            assert ears.heard(host.space, *place, uid)[0] == place, (name, port, uid)


def test_outbound_except_a_group(host: Host, backend: str, family: Family) -> None:
    def of_group() -> socket.socket:
        ctypes.CDLL(None).setfsgid(GROUP)
        return socket.socket(socket.AF_INET6 if family.version == 6 else socket.AF_INET)

    with Listeners() as ears:
        ears.add(host.peer, family.cluster, 80)
        put(host, backend, f"outbound_except_gids = [{GROUP}]")
        with host.space.inside(of_group) as made:
            made.settimeout(5)
            made.connect((family.cluster, 80))
            with ears.accept() as connection:
                assert connection.getsockname()[:2] == (family.cluster, 80)
        with pytest.raises(ConnectionRefusedError):  # where no proxy listens
            dial(host.space, family.cluster, 80)


# inbound -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "proxied", "direct"),
    [
        ('inbound = "all"', [APP, UNDECLARED], [SSH, INBOUND]),
        ('inbound = "all"\ninbound_except_ports = ["8999-9001"]', [APP], [SSH, UNDECLARED]),
        ('inbound = "all"\ninbound_except_networks = ["10.9.0.1/32", "fd09::1/128"]', [], [APP, UNDECLARED]),
        ('inbound_except_networks = ["10.9.0.9/32", "fd09::9/128"]', [APP], [UNDECLARED, SSH]),
        ('inbound_except_interfaces = ["WIRE"]', [], [APP]),
        ('inbound = "off"', [], [APP, UNDECLARED]),
        ('mode = "linkerd-guide"\nforce = true', [APP, UNDECLARED], [SSH, 4567, INBOUND]),
    ],
)
def test_inbound(
    host: Host, backend: str, family: Family, lines: str, proxied: list[int], direct: list[int]
) -> None:
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, APP, SSH, UNDECLARED, INBOUND, 4567)
        put(host, backend, lines.replace("WIRE", wire(host.space)))
        for port in proxied:
            place = family.host, port
            assert ears.heard(host.peer, *place) == ((family.host, INBOUND), place)
        for port in direct:
            place = family.host, port
            assert ears.heard(host.peer, *place)[0] == place
        for port in (APP, SSH):  # from this host itself
            assert ears.heard(host.space, family.host, port)[0] == (family.host, port)


@pytest.mark.parametrize("level", [ON, BLOCK])
def test_who_comes_by_the_proxy_reaches_declared_ports_alone(
    host: Host, backend: str, family: Family, level: Level
) -> None:
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, APP, UNDECLARED, SSH, 53, 8086)
        put(host, backend, "", level, RELEASED)
        for address in (family.host, family.loopback, family.inside):
            for port in (UNDECLARED, SSH):
                with pytest.raises(ConnectionRefusedError):
                    dial(host.space, address, port, PROXY_UID)
                assert ears.heard(host.space, address, port)[0] == (address, port)  # others still reach it
            for port in (APP, 53, 8086):
                assert ears.heard(host.space, address, port, PROXY_UID)[0] == (address, port)


def test_with_the_redirect_off_a_peer_that_dials_4143_reaches_declared_ports_alone(
    host: Host, backend: str, family: Family
) -> None:
    host.config.write_text(host.config.read_text().replace("[redirect]", '[redirect]\nmode = "off"'))
    force(host, backend)
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, APP, UNDECLARED, 53)
        answer = ask(host, apply("released", "released"))
        code, found = answer
        assert (code, found["inbound"], found["outbound"]) == (0, "released", "released")
        assert ask(host, CHECK) == answer
        for uid in (PROXY_UID, 1000):
            assert ears.heard(host.space, family.host, APP, uid)[0] == (family.host, APP)
            assert ears.heard(host.space, family.host, 53, uid)[0] == (family.host, 53)
        with pytest.raises(ConnectionRefusedError):
            dial(host.space, family.host, UNDECLARED, PROXY_UID)
        for space, uid in ((host.space, 1000), (host.peer, PROXY_UID)):
            assert ears.heard(space, family.host, UNDECLARED, uid)[0] == (family.host, UNDECLARED)


def test_the_proxys_udp_is_untouched(host: Host, backend: str, family: Family) -> None:
    put(host, backend, "")
    kind = socket.AF_INET6 if family.version == 6 else socket.AF_INET
    make = partial(socket.socket, kind, socket.SOCK_DGRAM)
    with host.space.inside(make) as server, host.space.inside(make, PROXY_UID) as client:
        server.bind((family.host, 9999))
        server.settimeout(5)
        client.sendto(b"x", (family.host, 9999))
        assert server.recv(9) == b"x"


def test_a_thousand_exceptions(host: Host, backend: str, family: Family) -> None:
    """And the last of them still counts."""
    many = [f'"10.42.{i // 250 + 1}.{i % 250 + 1}/32"' for i in range(500)]
    many += [f'"fd42::{i + 0x1000:x}/128"' for i in range(498)]
    lines = f'outbound_except_networks = [{", ".join(many)}, "10.42.0.7/32", "fd42::7/128"]'
    with Listeners() as ears:
        ears.add(host.peer, family.cluster, 80)
        ears.add(host.peer, family.exempt, 80)
        ears.add(host.space, family.loopback, OUTBOUND)
        put(host, backend, lines)
        assert ears.heard(host.space, family.cluster, 80)[0] == (family.cluster, 80)
        assert ears.heard(host.space, family.exempt, 80)[0] == (family.loopback, OUTBOUND)
