"""The names of the control plane, asked of a real nameserver as linkerd2-proxy asks: SRV first, then addresses."""

from pathlib import Path

import pytest

from agent.adapters import dns_records
from agent.adapters.dns_records import Found
from tests.lab import nameserver
from tests.lab.nameserver import ADDRESS, Nameserver

NAME = "linkerd-policy.linkerd.svc.cluster.local"


@pytest.mark.parametrize(("kinds", "by", "asked"), [("SRV A", "SRV", 1), ("A AAAA", "A", 2), ("AAAA", "AAAA", 3)])
async def test_srv_is_asked_first(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kinds: str, by: str, asked: int
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({NAME: kinds})) as server:
        assert await dns_records.look(f"{NAME}.") == Found(by)
    assert server.asked == [(NAME, kind) for kind in ("SRV", "A", "AAAA")][:asked]


@pytest.mark.parametrize(
    ("code", "records", "why"),
    [
        (3, {}, "no such name"),
        (2, {}, "SERVFAIL"),
        (5, {}, "REFUSED"),
        (0, {NAME: "TXT"}, "neither SRV records nor addresses"),
    ],
    ids=["nxdomain", "servfail", "refused", "empty"],
)
async def test_what_the_server_says_is_told(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, records: dict[str, str], why: str
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"# by hand\nnameserver {ADDRESS} \n")
    async with nameserver.serving(Nameserver(records, code)):
        found = await dns_records.look(f"{NAME}.")
    assert found == Found("", f"{NAME}.: {ADDRESS}: {why} (by {tmp_path}/resolv_conf)")


async def test_the_domains_of_the_file_complete_a_name(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"search example cluster.local.\nnameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({NAME: "A"})) as server:
        assert await dns_records.look(NAME.removesuffix(".cluster.local")) == Found("A")
    assert ("linkerd-policy.linkerd.svc", "SRV") in server.asked


async def test_an_answer_to_another_question_is_not_taken(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({NAME: "A"}, first=b"\0")):
        assert await dns_records.look(f"{NAME}.") == Found("A")


async def test_the_next_server_is_asked_when_one_is_silent(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver 127.78.0.1\nnameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({NAME: "SRV"})):
        assert await dns_records.look(f"{NAME}.") == Found("SRV")


async def test_a_silent_server_is_named(root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    async with nameserver.silent():
        found = await dns_records.look(f"{NAME}.")
    assert not found.by and f"{ADDRESS}: no answer in " in found.why


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no nameserver"), ("nameserver 127.78.0.1\n", "Connection refused"), ("nameserver x..y\n", "x..y: ")],
    ids=["empty", "refused", "malformed"],
)
async def test_without_a_server_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, why: str
) -> None:
    nameserver.used(monkeypatch, tmp_path, text)
    found = await dns_records.look(f"{NAME}.")
    assert not found.by and why in found.why and f"by {tmp_path}/resolv_conf" in found.why


async def test_the_hosts_file_counts_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nameserver.used(monkeypatch, tmp_path, "", f"192.0.2.1 x # {NAME}\n192.0.2.9 y {NAME.upper()}\n")
    assert await dns_records.look(f"{NAME}.") == Found(str(tmp_path / "hosts"))
    nameserver.used(monkeypatch, tmp_path, "", f"192.0.2.1 x # {NAME}\n")
    assert not (await dns_records.look(f"{NAME}.")).by


@pytest.mark.parametrize(("address", "by"), [("192.0.2.1", "A"), ("[2001:db8::1]", "AAAA")])
async def test_an_address_needs_no_server(address: str, by: str) -> None:
    assert await dns_records.look(address) == Found(by)


@pytest.mark.parametrize("name", ["a..b.", "x" * 64, ""], ids=["empty label", "long label", "empty"])
async def test_what_is_no_name_is_said(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    assert "not a name of DNS" in (await dns_records.look(name)).why
