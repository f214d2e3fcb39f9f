"""Which backend sets the rules, and what it says when it cannot."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.core.redirect import ruleset
from agent.privileged import Refusal, kernel
from agent.privileged.backends import iptables, programs
from tests.core.redirects import BOTH
from tests.netns import Namespace, namespace

RULES = ruleset(BOTH, Level.ON, Level.ON)


@pytest.fixture
def space(root: None) -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def has(monkeypatch: pytest.MonkeyPatch, *names: str, iptables_says: str = "") -> None:
    """A host with these programs."""
    monkeypatch.setattr(programs, "find", lambda name: f"/bin/{name}" if name in names else None)
    monkeypatch.setattr(iptables, "_version", lambda program: iptables_says)


@pytest.mark.parametrize(
    ("names", "says", "chosen"),
    [
        (("nft", "iptables", "iptables-legacy-restore"), "iptables v1.8.9 (legacy)", "nftables"),
        (("iptables",), "iptables v1.8.9 (nf_tables)", "iptables-nft"),
        (("iptables",), "iptables v1.8.9 (legacy)", "iptables-legacy"),
        (("iptables",), "iptables v1.6.1", "iptables-legacy"),
        (("iptables-nft-restore", "iptables-legacy-restore"), "", "iptables-nft"),
        (("iptables-legacy-restore",), "", "iptables-legacy"),
        ((), "", "nftables"),
    ],
)
def test_the_backend_is_what_the_host_uses(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], says: str, chosen: str
) -> None:
    has(monkeypatch, *names, iptables_says=says)
    assert kernel.chosen() == chosen
    assert kernel.chosen("iptables-nft") == "iptables-nft"


@pytest.mark.parametrize(
    ("backend", "program"), [("nftables", "nft"), ("iptables-legacy", "iptables-legacy-save")]
)
def test_a_backend_that_the_host_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, backend: str, program: str
) -> None:
    has(monkeypatch)
    with pytest.raises(Refusal) as caught:
        kernel.replace(RULES, backend)
    assert caught.value.reason is Reason.REDIRECT_UNSUPPORTED
    assert caught.value.detail.startswith(f"cannot find {program}")


def test_a_lock_that_another_program_holds_is_waited_for_and_named(space: Namespace) -> None:
    with Path("/run/xtables.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refusal, match="xtables lock"):
            space.inside(lambda: kernel.replace(RULES, "iptables-legacy"))
        assert space.inside(lambda: kernel.read("iptables-legacy")) is None
    space.inside(lambda: kernel.replace(RULES, "iptables-legacy"))
    assert space.inside(lambda: kernel.read("iptables-legacy")) == RULES


def test_ipv4_goes_back_when_ipv6_cannot_follow(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = iptables.Iptables("legacy")
    released = ruleset(BOTH, Level.RELEASED, Level.RELEASED)
    space.inside(lambda: backend.replace(released))
    real = backend._restore

    def fails(version: int, text: str, *more: str) -> None:
        if version == 6 and not more:
            raise Refusal("cannot set the rules: no")
        real(version, text, *more)

    monkeypatch.setattr(backend, "_restore", fails)
    with pytest.raises(Refusal):
        space.inside(lambda: backend.replace(RULES))
    assert space.inside(backend.read) == released


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Fatal: can't open lock file: Permission denied", Reason.REDIRECT_FORBIDDEN),
        ("iptables: No chain/target/match by that name.", Reason.REDIRECT_UNSUPPORTED),
        ("something else", None),
    ],
)
def test_what_a_program_says_becomes_a_reason(said: str, reason: Reason | None) -> None:
    assert programs.refusal("set the rules", said, "x").reason is reason
