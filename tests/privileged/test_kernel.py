"""Which backend sets the rules, and what it says when it cannot."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.facts import Level
from agent.core.reasons import Reason
from agent.core.redirect import levels, ruleset
from agent.privileged import Refusal
from agent.privileged.redirect import kernel
from agent.privileged.redirect.backends import iptables
from agent.privileged.system import programs
from tests.core.redirects import BOTH
from tests.lab.netns import Namespace, namespace

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


@pytest.mark.parametrize("backend", sorted(kernel.BACKENDS))
def test_a_host_without_ipv6(space: Namespace, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Its ip6tables has no tables, and none are needed."""
    spec = replace(BOTH, addresses=BOTH.addresses[:1], networks=BOTH.networks[:1])
    real = programs.run

    def lacks(
        program: str, *arguments: str, input: str = "", within: object = None
    ) -> "subprocess.CompletedProcess[str]":
        if "ip6tables" in program:
            said = "ip6tables: can't initialize ip6tables table `nat': Address family not supported by protocol"
            return subprocess.CompletedProcess([program], 3, "", said)
        return real(program, *arguments, input=input)

    monkeypatch.setattr(programs, "run", lacks)
    monkeypatch.setattr(iptables, "_IPV6", Path("/proc/no-ipv6-here"))
    space.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    for level in (Level.ON, Level.BLOCK, Level.RELEASED):
        rules = ruleset(spec, level, level)
        space.inside(lambda rules=rules: kernel.replace(rules, backend))  # type: ignore[misc]
        assert levels(spec, space.inside(lambda: kernel.read(backend))) == (level, level)
    space.inside(lambda: kernel.replace(None, backend))
    assert space.inside(lambda: kernel.read(backend)) is None


def test_ipv4_goes_back_when_ipv6_cannot_follow(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = iptables.Iptables("legacy")
    released = ruleset(BOTH, Level.RELEASED, Level.RELEASED)
    space.inside(lambda: backend.replace(released))
    real = backend.restore

    def fails(version: int, text: str, *more: str) -> None:
        if version == 6 and not more:
            raise Refusal("cannot set the rules: no")
        real(version, text, *more)

    monkeypatch.setattr(backend, "restore", fails)
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


@pytest.mark.parametrize("broken", ["iptables-nft-save", "ip6tables-legacy-save", "nft"])
def test_a_program_of_another_backend_that_fails_is_named(
    space: Namespace, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It may hold something of ours; but the rules in use are still removed on request."""
    wanted = "iptables-legacy" if broken != "ip6tables-legacy-save" else "iptables-nft"
    space.inside(lambda: kernel.replace(RULES, wanted))
    space.run("ip6tables-legacy", "--table=nat", "--list")  # unused tables are not read
    real = programs.run

    def fails(
        program: str, *arguments: str, input: str = "", within: object = None
    ) -> "subprocess.CompletedProcess[str]":
        if program.endswith(f"/{broken}"):
            return subprocess.CompletedProcess([program], 1, "", "it exploded")
        return real(program, *arguments, input=input)

    monkeypatch.setattr(programs, "run", fails)
    for call in (lambda: kernel.read(wanted), lambda: kernel.replace(RULES, wanted)):
        with pytest.raises(Refusal, match="it exploded"):
            space.inside(call)
    with pytest.raises(Refusal, match="it exploded"):
        space.inside(lambda: kernel.replace(None, wanted))
    assert space.inside(kernel.BACKENDS[wanted].read) is None


def test_a_program_that_is_missing_or_finds_no_part_of_the_kernel_holds_nothing(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = subprocess.CompletedProcess[str](
        [], 1, "", "iptables: Failed to initialize nft: Protocol not supported"
    )
    monkeypatch.setattr(programs, "run", lambda *_, **__: lacks)
    assert kernel.leftovers("nftables") == ()
    has(monkeypatch)
    assert kernel.leftovers("iptables-nft") == ()
