"""What the privileged helper reads of the kernel's tables, by tables that are files."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.core.redirect import Outbound, RedirectSpec
from agent.privileged.redirect import resolvers_gateways
from agent.privileged.system import listeners

SPEC = RedirectSpec(proxy_uid=7)
ESTABLISHED, TIME_WAIT, CLOSE_WAIT, LISTEN = "01", "06", "08", "0A"


def socket_table(*sockets: tuple[int, str]) -> str:
    rows = [
        f" {i}: 0A000001:{port:04X} 0A000002:C350 {state} 0 0 0 7 0 1" for i, (port, state) in enumerate(sockets)
    ]
    return "\n".join(("  sl  local_address rem_address   st …", *rows)) + "\n"


def test_streams_are_those_of_the_proxys_ports_that_have_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [tmp_path / "tcp", tmp_path / "tcp6"]
    tables[0].write_text(
        socket_table((4143, ESTABLISHED), (4143, TIME_WAIT), (4140, CLOSE_WAIT), (4143, LISTEN), (80, ESTABLISHED))
    )
    tables[1].write_text(socket_table((4143, ESTABLISHED)))
    monkeypatch.setattr(listeners, "tables", lambda: tables)
    assert listeners.streams(SPEC) == 3
    assert listeners.streams(replace(SPEC, inbound_listener=5000)) == 1


@pytest.mark.parametrize(
    ("outbound", "uids", "expected"),
    [
        (Outbound.NETWORKS, frozenset(), False),
        (Outbound.ALL, frozenset(), True),
        (Outbound.UIDS, frozenset(), False),
        (Outbound.UIDS, frozenset({1000}), True),
        (Outbound.OFF, frozenset({1000}), False),
    ],
)
def test_whether_anything_goes_out_through_the_proxy(
    outbound: Outbound, uids: frozenset[int], expected: bool
) -> None:
    assert listeners.outbound(replace(SPEC, outbound=outbound, uids=uids)) is expected


def test_resolvers_are_those_of_libc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolvers_gateways, "_RESOLVERS", file)
    assert resolvers_gateways.resolvers() == frozenset()
    file.write_text("search a.example\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver nonsense\n")
    assert resolvers_gateways.resolvers() == {ip_address("192.0.2.53"), ip_address("fe80::1")}


def test_gateways_are_the_next_hops_of_default_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    four, six = tmp_path / "route", tmp_path / "ipv6_route"
    monkeypatch.setattr(resolvers_gateways, "_ROUTES", four)
    monkeypatch.setattr(resolvers_gateways, "_ROUTES6", six)
    four.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n"
        "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
    )
    assert resolvers_gateways.gateways() == {ip_address("192.0.2.1")}
    zero, via = "0" * 32, ip_address("fd09::1").packed.hex()
    six.write_text(
        f"{zero} 00 {zero} 00 {via} 00000400 00000001 00000000 00000003 eth0\n"
        f"{ip_address('fd42::').packed.hex()} 40 {zero} 00 {via} 00000400 00000001 00000000 00000003 eth0\n"
    )
    assert resolvers_gateways.gateways() == {ip_address("192.0.2.1"), ip_address("fd09::1")}
