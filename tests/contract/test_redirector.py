"""The contract of ports.Redirector: by a variable, and by the real kernel through the real helper.

What the levels do is told by real TCP connections between two network namespaces, for each IP version.
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.helper import Helper
from agent.adapters.redirector import HelperRedirector
from agent.core import prepared
from agent.core.facts import Level
from agent.core.goals import RedirectGoal as Goal
from agent.core.reasons import Reason
from agent.core.redirect import settle
from agent.host import Host as Paths
from agent.ports import LiveRedirect, Redirector, Trouble
from agent.privileged import DEADLINE
from agent.proxyunit import proof
from tests.fakes.redirector import MemoryRedirector
from tests.privileged.firewalls import BACKENDS, force
from tests.privileged.hosts import (
    Host,
    Listeners,
)

OFF, RELEASED, BLOCK, ON = Goal.OFF, Goal.RELEASED, Goal.BLOCK, Goal.ON


def live(inbound: Goal, outbound: Goal) -> LiveRedirect:
    return LiveRedirect(Level(inbound.value), Level(outbound.value))


@pytest.fixture
def proxy(host: Host) -> Iterator[Listeners]:
    """Its listeners: without them nothing is redirected."""
    with Listeners() as ears:
        ears.add_listeners(host.space)
        yield ears


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.real) for name in BACKENDS)])
def redirector(request: pytest.FixtureRequest) -> Redirector:
    if request.param == "memory":
        return MemoryRedirector()
    request.getfixturevalue("proxy")
    made: Host = request.getfixturevalue("host")
    force(made, request.param)
    return HelperRedirector(made.helper())


@pytest.fixture
def kernel(host: Host, proxy: Listeners) -> HelperRedirector:
    return HelperRedirector(host.helper())


# the port ------------------------------------------------------------------------------------------


async def test_an_untouched_host_is_off(redirector: Redirector) -> None:
    assert await redirector.check() == live(OFF, OFF)


async def test_every_level_is_reached_from_another_and_read_back(redirector: Redirector) -> None:
    for inbound, outbound in itertools.product((ON, OFF, BLOCK, RELEASED), repeat=2):
        expected = LiveRedirect(*settle(Level(inbound.value), Level(outbound.value)))
        if expected == live(OFF, OFF) and isinstance(redirector, HelperRedirector):
            expected = live(RELEASED, RELEASED)  # while the proxy runs, its guard stays
        assert await redirector.apply(inbound, outbound) == expected
        assert await redirector.check() == expected


async def test_the_same_again_changes_nothing(redirector: Redirector) -> None:
    await redirector.apply(ON, BLOCK)
    assert await redirector.apply(ON, BLOCK) == live(ON, BLOCK)
    await redirector.apply(RELEASED, RELEASED)
    assert await redirector.apply(RELEASED, RELEASED) == live(RELEASED, RELEASED)


# the kernel: rules ---------------------------------------------------------------------------------


async def test_the_same_again_does_not_touch_the_kernel(host: Host, kernel: HelperRedirector) -> None:
    await kernel.apply(ON, ON)
    before = host.space.run("nft", "-s", "-a", "list", "ruleset")
    await kernel.apply(ON, ON)
    assert host.space.run("nft", "-s", "-a", "list", "ruleset") == before


async def test_off_leaves_nothing(host: Host, kernel: HelperRedirector, proxy: Listeners) -> None:
    await kernel.apply(ON, ON)
    proxy.end()
    await kernel.apply(OFF, OFF)
    assert host.space.run("nft", "list", "ruleset") == ""


async def test_off_passes_through_released_and_every_change_is_one_transaction(
    host: Host, proxy: Listeners, tmp_path: Path
) -> None:
    """Streams may still be translated when the table is to go; it never goes with rules in it."""
    log, real = tmp_path / "log", tmp_path / "real-nft"
    shutil.copy(shutil.which("nft") or "", real)
    nft = stand_in(
        tmp_path, f'case "$*" in *-f*) tee -a {log} | {real} "$@"; echo >>{log};; *) {real} "$@";; esac'
    )
    kernel = HelperRedirector(host.helper(*with_nft(nft)))
    await kernel.apply(ON, ON)
    proxy.end()
    await kernel.apply(OFF, OFF)
    on, released, off = map(json.loads, log.read_text().splitlines())
    assert len(rules_in(on)) > 1
    assert [rule["comment"] for rule in rules_in(released)][-1:] == ["tracking"]
    assert {rule["chain"] for rule in rules_in(released)} == {"guard", "tracking"}
    assert rules_in(off) == []


def rules_in(transaction: Any) -> list[dict[str, Any]]:
    return [command["add"]["rule"] for command in transaction["nftables"] if "rule" in command.get("add", {})]


async def test_other_owners_rules_are_left_alone(host: Host, kernel: HelperRedirector, proxy: Listeners) -> None:
    host.space.run("nft", "add table ip docker; add chain ip docker c { type nat hook prerouting priority -100; }")
    await kernel.apply(ON, ON)
    proxy.end()
    await kernel.apply(OFF, OFF)
    assert host.space.run("nft", "list", "tables") == "table ip docker\n"


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        ("flush chain inet fairlead tracking", (Level.PARTIAL, Level.PARTIAL)),
        ("flush chain inet fairlead inbound", (Level.PARTIAL, Level.ON)),
        ("insert rule inet fairlead outbound tcp dport 25 accept", (Level.ON, Level.PARTIAL)),
        ("add rule inet fairlead inbound_block tcp dport 25 drop", (Level.PARTIAL, Level.ON)),
        ("add set inet fairlead s { type ipv4_addr; }", (Level.PARTIAL, Level.PARTIAL)),
        ("add table inet fairlead { flags dormant; }", (Level.PARTIAL, Level.PARTIAL)),
        ("delete table inet fairlead", (Level.OFF, Level.OFF)),
        ("flush ruleset", (Level.OFF, Level.OFF)),
    ],
)
async def test_damage_by_hand_is_seen_and_mended(
    host: Host, kernel: HelperRedirector, damage: str, seen: tuple[Level, Level]
) -> None:
    await kernel.apply(ON, ON)
    host.space.run("nft", damage)
    assert await kernel.check() == LiveRedirect(*seen)
    assert await kernel.apply(ON, ON) == live(ON, ON)


async def test_one_rule_deleted_by_hand_is_partial(host: Host, kernel: HelperRedirector) -> None:
    await kernel.apply(ON, ON)
    listed = host.space.run("nft", "-a", "list", "chain", "inet", "fairlead", "inbound").splitlines()
    handle = next(line for line in listed if "dport" in line).rpartition("handle ")[2]
    host.space.run("nft", "delete", "rule", "inet", "fairlead", "inbound", "handle", handle)
    assert await kernel.check() == LiveRedirect(Level.PARTIAL, Level.ON)


async def test_an_edited_configuration_is_told_and_not_applied(host: Host, kernel: HelperRedirector) -> None:
    """Not to repair drift either: what is redirected changes when an operator says so."""
    await kernel.apply(ON, ON)
    before = host.space.run("nft", "-s", "list", "ruleset")
    host.config.write_text(host.config.read_text().replace("ports = [8080]", "ports = [8080, 8081]"))
    host.space.run("nft", "flush", "ruleset")
    for found in (await kernel.apply(ON, ON), await kernel.check()):
        assert (found, found.edited) == (live(ON, ON), "workload.ports")
    assert host.space.run("nft", "-s", "list", "ruleset") == before


async def test_a_suspension_is_told_and_a_trial_is_none_yet(host: Host, kernel: HelperRedirector) -> None:
    helper = host.helper()
    with Listeners() as ears:
        ears.add_admin(host.space)
        await helper.ask("redirect apply", Reason.REDIRECT_FAILED, confirm="600")
        on_trial = await kernel.check()
        assert (on_trial.suspended, on_trial.unreported) == ("", "the end of the trial")
        await helper.ask("redirect revert", Reason.REDIRECT_FAILED)
        for found in (await kernel.check(), await kernel.apply(BLOCK, RELEASED)):
            assert found.suspended == "reverted: an operator reverted it"
        await helper.ask("redirect apply", Reason.REDIRECT_FAILED, confirm="none")
        assert await kernel.check() == live(ON, ON)
        assert (await kernel.check()).steady


async def test_another_backend_in_an_edited_configuration_waits_too(
    host: Host, kernel: HelperRedirector, proxy: Listeners
) -> None:
    await kernel.apply(ON, ON)
    force(host, "iptables-legacy")
    found = await kernel.check()
    assert (found, found.edited) == (live(ON, ON), "redirect.backend")
    await kernel.apply(BLOCK, ON)
    assert "FAIRLEAD" not in host.space.run("iptables-legacy-save")
    proxy.end()
    await host.helper().ask("redirect apply", Reason.REDIRECT_FAILED, confirm="none")
    found = await kernel.check()
    assert (found, found.edited) == (live(BLOCK, RELEASED), "")
    assert found.unreported == "the tables of iptables-legacy"
    assert "FAIRLEAD" in host.space.run("iptables-legacy-save")
    assert host.space.run("nft", "list", "tables", "inet") == ""


# the kernel: faults ------------------------------------------------------------------------------

NO_RIGHTS = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


def with_nft(replacement: Path | str) -> tuple[str, ...]:
    """The privileged helper sees another file where nft is: its mounts are its own."""
    mounts = 'for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ ! -e $nft ] || mount --bind "$0" $nft; done'
    return ("unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', str(replacement))


def stand_in(folder: Path, *lines: str) -> Path:
    path = folder / "nft"
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(0o755)
    return path


async def troubles(redirector: HelperRedirector) -> list[Trouble]:
    found = []
    for call in (redirector.check(), redirector.apply(ON, ON)):
        with pytest.raises(Trouble) as caught:
            await call
        found.append(caught.value)
    return found


async def test_without_rights(host: Host) -> None:
    for trouble in await troubles(HelperRedirector(host.helper(*NO_RIGHTS))):
        assert trouble.reason is Reason.REDIRECT_FORBIDDEN
        assert "CAP_NET_ADMIN" in trouble.detail


async def test_without_nft(host: Host) -> None:
    force(host, "nftables")
    for trouble in await troubles(HelperRedirector(host.helper(*with_nft("/dev/null")))):
        assert trouble.reason is Reason.REDIRECT_UNSUPPORTED
        assert "cannot find nft" in trouble.detail


@pytest.mark.parametrize("kind", ["nft", "legacy"])
async def test_without_nft_it_is_what_the_hosts_iptables_is(
    host: Host, proxy: Listeners, kind: str, tmp_path: Path
) -> None:
    """The kernel's tables of the other kind stay as they are."""
    alternatives = tmp_path / "alternatives"
    shutil.copytree("/etc/alternatives", alternatives, symlinks=True)
    (alternatives / "iptables").unlink()
    (alternatives / "iptables").symlink_to(f"/usr/sbin/iptables-{kind}")
    iptables = f"mount --bind {alternatives} /etc/alternatives"
    around = ("unshare", "--mount", "sh", "-c", f'{iptables}; exec "$@"', "sh", *with_nft("/dev/null"))
    kernel = HelperRedirector(host.helper(*around))
    assert await kernel.apply(ON, ON) == live(ON, ON)
    assert "FAIRLEAD" in host.space.run(f"iptables-{kind}-save")
    other = "legacy" if kind == "nft" else "nft"
    assert "FAIRLEAD" not in host.space.run(f"iptables-{other}-save")
    proxy.end()
    await kernel.apply(OFF, OFF)
    assert "FAIRLEAD" not in host.space.run(f"iptables-{kind}-save")


async def test_with_a_kernel_that_lacks_a_part(host: Host, tmp_path: Path) -> None:
    nft = stand_in(
        tmp_path, "echo 'internal:0:0-0: Error: Could not process rule: Operation not supported' >&2", "exit 1"
    )
    for trouble in await troubles(HelperRedirector(host.helper(*with_nft(nft)))):
        assert trouble.reason is Reason.REDIRECT_UNSUPPORTED
        assert "this kernel lacks a part" in trouble.detail


async def test_with_an_nft_that_hangs(host: Host, tmp_path: Path) -> None:
    nft = stand_in(tmp_path, "exec sleep 60")
    with pytest.raises(Trouble) as caught:
        await HelperRedirector(host.helper(*with_nft(nft))).check()
    assert caught.value.reason is Reason.REDIRECT_FAILED
    assert f"within {DEADLINE:g} s" in caught.value.detail


async def test_with_an_nft_that_talks_nonsense(host: Host, tmp_path: Path) -> None:
    nft = stand_in(tmp_path, "echo nonsense")
    with pytest.raises(Trouble) as caught:
        await HelperRedirector(host.helper(*with_nft(nft))).check()
    assert caught.value.reason is Reason.REDIRECT_FAILED


async def test_without_a_helper() -> None:
    for trouble in await troubles(HelperRedirector(Helper("/", ["/nonexistent"]))):
        assert trouble.reason is Reason.REDIRECT_FAILED
        assert "cannot run /nonexistent" in trouble.detail


async def test_with_a_helper_that_says_nothing() -> None:
    for trouble in await troubles(HelperRedirector(Helper("/", ["/bin/false"]))):
        assert trouble.detail == "no answer from /bin/false: exit 1: it said nothing"


@contextmanager
def sleeping() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(["sleep", "600"], env={**os.environ}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.real
async def test_a_proxy_that_was_proved_ready_later_is_not_undone_while_it_runs(
    host: Host, kernel: HelperRedirector
) -> None:
    await kernel.apply(ON, ON)
    with sleeping() as process:
        proof.record(str(host.prefix), process.pid, 100.0)
        for judged in (1.0, 100.0 - 1e-6):
            found = await kernel.apply(BLOCK, BLOCK, judged)
            assert (found, found.superseded) == (live(ON, ON), True)
        assert await kernel.check() == live(ON, ON)
        found = await kernel.apply(BLOCK, BLOCK, 101.0)
        assert (found, found.superseded) == (live(BLOCK, BLOCK), False)
        assert await kernel.apply(BLOCK, RELEASED, 1.0) == live(BLOCK, RELEASED), "what is not ON is not kept"
        await kernel.apply(ON, ON)
    assert await kernel.apply(BLOCK, BLOCK, 1.0) == live(BLOCK, BLOCK)


@pytest.mark.real
async def test_a_proof_that_cannot_be_read_keeps_nothing_open(host: Host, kernel: HelperRedirector) -> None:
    await kernel.apply(ON, ON)
    with sleeping() as process:
        proof.record(str(host.prefix), process.pid, 100.0)
        path = Paths(host.prefix).prepared / prepared.ARMED
        path.chmod(0o666)  # another user could have written it
        assert await kernel.apply(BLOCK, BLOCK, 1.0) == live(BLOCK, BLOCK)
