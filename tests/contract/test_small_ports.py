"""The ports with a few methods: each suite runs on the tests' fakes and on what a host has."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from agent.adapters import identity_token
from agent.adapters.anchors import HostAnchors, Places
from agent.adapters.helper import Helper
from agent.adapters.identity_token import FromFile, Place
from agent.adapters.replacement import HelperReplacementStore
from agent.adapters.systemd import SystemdNotifier
from agent.core import anchors
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from agent.core.token import Claims
from agent.host import Host
from agent.ports import Certificates, IdentityTokens, Notifier, ReplacementStore, Trouble, TrustAnchors
from tests.contract.test_identity_anchors import LEAF, LOWER, MIDDLE, OTHER, ROOT
from tests.fakes.identity_tokens import MemoryTokens
from tests.fakes.trust_anchors import MemoryTrustAnchors
from tests.lab import identity_tokens
from tests.lab.identity_tokens import SUBJECT
from tests.loops.test_faults_over import Record
from tests.loops.test_notify import Manager
from tests.loops.test_proxy_replacement import Disk

PROXY = (2102, 2103)

# ReplacementStore -----------------------------------------------------------------------------------


def _on_disk(folder: Path) -> ReplacementStore:
    Host(folder).replacement.parent.mkdir(parents=True)
    return HelperReplacementStore(str(folder), cast(Helper, None))  # the helper is asked by `use` alone


STORES: dict[str, Callable[[Path], ReplacementStore]] = {
    "Record": lambda _: Record(Stage.FAILED),
    "Disk": lambda _: Disk(),
    "disk": _on_disk,
}
CHANGE = Replacement("2.366.0", "2.360.0", Stage.STARTING, "it waits", since=90.0)


@pytest.mark.parametrize("store", STORES)
def test_what_was_remembered_last_is_recalled(store: str, tmp_path: Path) -> None:
    found = STORES[store](tmp_path)
    for change in (Replacement("2.366.0", "2.360.0"), CHANGE):
        found.remember(change)
    recalled = found.recall(100.0)
    assert recalled is not None
    assert (recalled.wanted, recalled.previous, recalled.stage) == ("2.366.0", "2.360.0", Stage.STARTING)
    assert recalled.detail == "it waits" and recalled.since <= 100.0


def test_a_store_without_a_record_recalls_nothing(tmp_path: Path) -> None:
    assert Disk().recall(1.0) is None and _on_disk(tmp_path).recall(1.0) is None


@pytest.mark.parametrize("store", ["Record", "disk"])
def test_what_cannot_be_remembered_is_trouble_and_changes_nothing(store: str, tmp_path: Path) -> None:
    found = STORES[store](tmp_path)
    if isinstance(found, Record):
        found.full = True
    else:
        Host(tmp_path).replacement.mkdir()
    before = found.recall(1.0)
    with pytest.raises(Trouble) as raised:
        found.remember(CHANGE)
    assert raised.value.reason is Reason.PROXY_REPLACEMENT_FAILED and found.recall(1.0) == before


# Notifier -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [False, True])
def test_each_line_reaches_the_manager_in_order(real: bool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        fake = Manager()
        found: Notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}) if real else fake
        found.notify("READY=1", "STATUS=Ready")
        found.notify("WATCHDOG=1")
        said = [line for _ in range(2) for line in listener.recv(100).decode().split("\n")] if real else fake.said
    assert said == ["READY=1", "STATUS=Ready", "WATCHDOG=1"]


# IdentityTokens -------------------------------------------------------------------------------------


@dataclass
class Source:
    """`offer`: it has a token of this life. `fail`: it no longer has one."""

    tokens: IdentityTokens
    offer: Callable[[float, float], object]
    fail: Callable[[], object]


def _fake_tokens(folder: Path) -> Source:
    found = MemoryTokens()

    def offer(begins: float, ends: float) -> None:
        found.offered = Claims(SUBJECT, ("identity.l5d.io",), begins, ends)

    fault = Fault(Reason.IDENTITY_TOKEN_UNREADABLE)
    return Source(found, offer, lambda: setattr(found, "fault", fault))


def _tokens_of_a_file(folder: Path) -> Source:
    identity_token.furnish(folder / "token-folder", 0o2750, (0, PROXY[1]))
    place = Place(folder / "token-folder/token", PROXY, SUBJECT, lambda: 1000.0)
    given = folder / "given"
    tokens = FromFile(place, given)
    return Source(tokens, lambda begins, ends: given.write_text(identity_tokens.token(begins, ends)), given.unlink)


@pytest.mark.parametrize("made", [_fake_tokens, _tokens_of_a_file])
async def test_a_token_is_held_once_renewed_and_kept_while_its_source_fails(
    made: Callable[[Path], Source], tmp_path: Path, root: None
) -> None:
    source = made(tmp_path)
    with pytest.raises(Trouble) as raised:
        await source.tokens.held()
    assert raised.value.reason is Reason.IDENTITY_TOKEN_UNREADABLE
    for begins, ends in ((500.0, 2000.0), (600.0, 3000.0)):
        source.offer(begins, ends)
        await source.tokens.renew()
        held = await source.tokens.held()
        assert (held.subject, held.not_before, held.not_after) == (SUBJECT, begins, ends)
    source.fail()
    with pytest.raises(Trouble) as raised:
        await source.tokens.renew()
    assert raised.value.reason is Reason.IDENTITY_TOKEN_UNREADABLE
    assert (await source.tokens.held()).not_after == 3000.0


# TrustAnchors ---------------------------------------------------------------------------------------

CERTIFICATES: Certificates = (ROOT.der,)
OFFERED: Certificates = (OTHER.der,)


@dataclass
class Held:
    """`chain`: what leads to `mine`. `unusable`, `unwritable`: break it."""

    anchors: TrustAnchors
    mine: Certificates
    offer: Certificates
    chain: Certificates
    unusable: Callable[[], object]
    unwritable: Callable[[], object]


def _fake_anchors(folder: Path) -> Held:
    found = MemoryTrustAnchors(b"root")
    found.offer = (b"other",)

    def unusable() -> None:
        found.mine = found.offer = Reason.TRUST_ANCHORS_UNUSABLE

    def unwritable() -> None:
        found.keeps = Reason.TRUST_ANCHORS_UNWRITABLE

    return Held(found, (b"root",), (b"other",), (b"leaf", b"root"), unusable, unwritable)


def _anchors_of_files(folder: Path) -> Held:
    configured, kept = folder / "configured.pem", folder / "agent/kept.pem"
    configured.write_text(anchors.pem(CERTIFICATES))
    kept.parent.mkdir()
    cluster = [anchors.pem(OFFERED)]

    async def fetch() -> str:
        return cluster[0]

    def unusable() -> None:
        configured.write_text("")
        cluster[0] = "garbage"

    def unwritable() -> None:
        kept.unlink()
        kept.parent.rmdir()
        kept.parent.write_text("no directory")

    chain = (LEAF.der, LOWER.der, MIDDLE.der)
    found = HostAnchors(Places((configured,), kept), fetch)
    return Held(found, CERTIFICATES, OFFERED, chain, unusable, unwritable)


@pytest.mark.parametrize("made", [_fake_anchors, _anchors_of_files])
async def test_anchors_in_force_offered_kept_and_what_they_cover(
    made: Callable[[Path], Held], tmp_path: Path
) -> None:
    held = made(tmp_path)
    found = held.anchors
    assert await found.in_force() == held.mine and await found.offered(()) == held.offer
    assert found.covered_until(held.mine, held.chain) is not None
    assert found.covered_until(held.mine, ()) is not None, "without a chain, the end of the anchors"
    assert found.covered_until(held.offer, held.chain) is None
    await found.keep(held.offer)
    assert await found.in_force() == held.mine, "what is kept is a proposal"
    held.unwritable()
    with pytest.raises(Trouble) as raised:
        await found.keep(held.offer)
    assert raised.value.reason is Reason.TRUST_ANCHORS_UNWRITABLE
    held.unusable()
    for answer in (found.in_force(), found.offered(())):
        with pytest.raises(Trouble) as raised:
            await answer
        assert raised.value.reason is Reason.TRUST_ANCHORS_UNUSABLE
