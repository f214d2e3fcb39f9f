import itertools
from collections.abc import Iterable, Iterator

import pytest

from agent.core.procfs import Connection, Stat, connections, control_groups, listening, stat

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"


def row(local: str, state: str = "0A", uid: int = 2102) -> str:
    return (
        f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 8783 1 0 100"
    )


def listeners(lines: Iterable[str]) -> dict[tuple[str, int], int]:
    return {one.place: one.uid for one in listening(lines)}


@pytest.fixture(autouse=True)
def on_a_little_endian_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.byteorder", "little")


def test_connections_of_one_user() -> None:
    line = row("0A0200C0:102F", "01").replace("00000000:0000", "0B0200C0:C350")
    lines = [HEADER, row("00000000:102F"), line, line.replace("  2102  ", "  0  ")]
    found = Connection(("192.0.2.10", 4143), ("192.0.2.11", 50000), "01", 2102)
    assert connections(lines, 2102) == [found]


def test_listeners_of_both_families() -> None:
    lines = [
        HEADER,
        row("0100007F:102C"),
        row("00000000:102F"),
        row("00000000000000000000000001000000:102C", uid=0),
        row("00000000000000000000000000000000:102F"),
        row("B80D0120000000000000000007000000:0050"),
        row("0000000000000000FFFF00000A0200C0:0051"),
    ]
    assert listeners(lines) == {
        ("127.0.0.1", 4140): 2102,
        ("0.0.0.0", 4143): 2102,
        ("::1", 4140): 0,
        ("::", 4143): 2102,
        ("2001:db8::7", 80): 2102,
        ("192.0.2.10", 81): 2102,
    }


def test_words_are_in_the_machines_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.byteorder", "big")
    assert listeners([HEADER, row("7F000001:102C")]) == {("127.0.0.1", 4140): 2102}


def test_reading_ends_with_the_listeners() -> None:
    def lines() -> Iterator[str]:
        yield from (HEADER, row("0100007F:102C"))
        yield from itertools.repeat(row("0100007F:1111", state="01"), 2)
        raise AssertionError("read on among the connections")

    assert listeners(lines()) == {("127.0.0.1", 4140): 2102}


def test_an_empty_table() -> None:
    assert listeners([HEADER]) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0::/system.slice/a.service\n", ("/system.slice/a.service", "")),
        ("5:cpu,memory:/a:b\n1:name=systemd:/c\n0::/c\n", ("/c", "/a:b")),
        ("4:memory:/\n", ("", "/")),
        ("", ("", "")),
    ],
)
def test_control_groups_of_either_version(text: str, found: tuple[str, str]) -> None:
    assert control_groups(text) == found


@pytest.mark.parametrize("name", ["linkerd2-proxy", "a b", "a) R 1 (b"])
def test_state_and_start_whatever_the_name(name: str) -> None:
    text = f"4711 ({name}) S " + " ".join(str(field) for field in range(4, 53))
    assert stat(text) == Stat("S", 22, name)
