"""The contract of ports.Redirector: by a variable, and by the real kernel through the real door.

What the levels do is told by real TCP connections between two network namespaces, for each IP version.
"""

import asyncio
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.door import Door
from agent.adapters.redirector import DoorRedirector
from agent.core.facts import Level
from agent.core.goals import RedirectGoal as Goal
from agent.core.reasons import Reason
from agent.core.redirect import settle
from agent.ports import LiveRedirect, Redirector, Trouble
from tests.fakes.redirector import MemoryRedirector
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    OUTBOUND,
    PROXY_UID,
    SSH,
    UNDECLARED,
    Family,
    Host,
    Listeners,
    Stream,
    dial,
    wired_host,
)

OFF, RELEASED, BLOCK, ON = Goal.OFF, Goal.RELEASED, Goal.BLOCK, Goal.ON


def live(inbound: Goal, outbound: Goal) -> LiveRedirect:
    return LiveRedirect(Level(inbound.value), Level(outbound.value))


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    with wired_host(tmp_path) as made:
        yield made


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.real)])
def redirector(request: pytest.FixtureRequest) -> Redirector:
    if request.param == "memory":
        return MemoryRedirector()
    made: Host = request.getfixturevalue("host")
    return DoorRedirector(made.door())


@pytest.fixture
def kernel(host: Host) -> DoorRedirector:
    return DoorRedirector(host.door())


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


# the port ------------------------------------------------------------------------------------------


async def test_an_untouched_host_is_off(redirector: Redirector) -> None:
    assert await redirector.check() == live(OFF, OFF)


async def test_every_level_is_reached_from_another_and_read_back(redirector: Redirector) -> None:
    for inbound, outbound in itertools.product((ON, OFF, BLOCK, RELEASED), repeat=2):
        expected = LiveRedirect(*settle(Level(inbound.value), Level(outbound.value)))
        assert await redirector.apply(inbound, outbound) == expected
        assert await redirector.check() == expected


async def test_the_same_again_changes_nothing(redirector: Redirector) -> None:
    await redirector.apply(ON, BLOCK)
    assert await redirector.apply(ON, BLOCK) == live(ON, BLOCK)
    await redirector.apply(OFF, OFF)
    assert await redirector.apply(OFF, OFF) == live(OFF, OFF)


# the kernel: rules ---------------------------------------------------------------------------------


async def test_the_same_again_does_not_touch_the_kernel(host: Host, kernel: DoorRedirector) -> None:
    await kernel.apply(ON, ON)
    before = host.space.run("nft", "-a", "list", "ruleset")
    await kernel.apply(ON, ON)
    assert host.space.run("nft", "-a", "list", "ruleset") == before


async def test_off_leaves_nothing(host: Host, kernel: DoorRedirector) -> None:
    await kernel.apply(ON, ON)
    await kernel.apply(OFF, OFF)
    assert host.space.run("nft", "list", "ruleset") == ""


async def test_off_passes_through_released_and_every_change_is_one_transaction(host: Host, tmp_path: Path) -> None:
    """Streams may still be translated when the table is to go; it never goes with rules in it."""
    log, real = tmp_path / "log", tmp_path / "real-nft"
    shutil.copy(shutil.which("nft") or "", real)
    nft = stand_in(
        tmp_path, f'case "$*" in *-f*) tee -a {log} | {real} "$@"; echo >>{log};; *) {real} "$@";; esac'
    )
    kernel = DoorRedirector(host.door(*with_nft(nft)))
    await kernel.apply(ON, ON)
    await kernel.apply(OFF, OFF)
    on, released, off = map(json.loads, log.read_text().splitlines())
    assert len(rules_in(on)) > 1
    assert [rule["comment"] for rule in rules_in(released)] == ["tracking"]
    assert rules_in(off) == []


def rules_in(transaction: Any) -> list[dict[str, Any]]:
    return [command["add"]["rule"] for command in transaction["nftables"] if "rule" in command.get("add", {})]


async def test_other_owners_rules_are_left_alone(host: Host, kernel: DoorRedirector) -> None:
    host.space.run("nft", "add table ip docker; add chain ip docker c { type nat hook prerouting priority -100; }")
    await kernel.apply(ON, ON)
    await kernel.apply(OFF, OFF)
    assert host.space.run("nft", "list", "tables") == "table ip docker\n"


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        ("flush chain inet fairlead tracking", (Level.PARTIAL, Level.PARTIAL)),
        ("flush chain inet fairlead inbound", (Level.RELEASED, Level.ON)),
        ("insert rule inet fairlead outbound tcp dport 25 accept", (Level.ON, Level.PARTIAL)),
        ("add rule inet fairlead inbound_block tcp dport 25 drop", (Level.PARTIAL, Level.ON)),
        ("add set inet fairlead s { type ipv4_addr; }", (Level.PARTIAL, Level.PARTIAL)),
        ("add table inet fairlead { flags dormant; }", (Level.PARTIAL, Level.PARTIAL)),
        ("delete table inet fairlead", (Level.OFF, Level.OFF)),
        ("flush ruleset", (Level.OFF, Level.OFF)),
    ],
)
async def test_damage_by_hand_is_seen_and_mended(
    host: Host, kernel: DoorRedirector, damage: str, seen: tuple[Level, Level]
) -> None:
    await kernel.apply(ON, ON)
    host.space.run("nft", damage)
    assert await kernel.check() == LiveRedirect(*seen)
    assert await kernel.apply(ON, ON) == live(ON, ON)


async def test_one_rule_deleted_by_hand_is_partial(host: Host, kernel: DoorRedirector) -> None:
    await kernel.apply(ON, ON)
    listed = host.space.run("nft", "-a", "list", "chain", "inet", "fairlead", "inbound").splitlines()
    handle = next(line for line in listed if "dport" in line).rpartition("handle ")[2]
    host.space.run("nft", "delete", "rule", "inet", "fairlead", "inbound", "handle", handle)
    assert await kernel.check() == LiveRedirect(Level.PARTIAL, Level.ON)


async def test_rules_for_another_configuration_are_partial(host: Host, kernel: DoorRedirector) -> None:
    await kernel.apply(ON, ON)
    host.config.write_text(host.config.read_text().replace("ports = [8080]", "ports = [8080, 8081]"))
    assert await kernel.check() == LiveRedirect(Level.PARTIAL, Level.ON)


# the kernel: packets -------------------------------------------------------------------------------


async def test_inbound(host: Host, kernel: DoorRedirector, family: Family) -> None:
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, APP, SSH, UNDECLARED, INBOUND)
        for level in (ON, BLOCK, RELEASED):
            await kernel.apply(level, RELEASED)
            for port in (SSH, UNDECLARED, INBOUND):  # never touched
                place = family.host, port
                assert ears.heard(host.peer, *place) == (place, place), level
            for place in ((family.host, APP), (family.loopback, APP)):  # from this host itself
                assert ears.heard(host.space, *place) == (place, place), level

            application = family.host, APP
            if level is BLOCK:
                with pytest.raises(ConnectionRefusedError):
                    dial(host.peer, *application)
            else:
                arrives = (family.host, INBOUND) if level is ON else application
                assert ears.heard(host.peer, *application) == (arrives, application)


async def test_outbound(host: Host, kernel: DoorRedirector, family: Family) -> None:
    with Listeners() as ears:
        for address in (family.cluster, family.exempt, family.elsewhere):
            ears.add(host.peer, address, 80, 443)
        ears.add(host.space, family.loopback, OUTBOUND, 80)
        ears.add(host.space, family.inside, 80)
        for level in (ON, BLOCK, RELEASED):
            await kernel.apply(RELEASED, level)
            assert ears.heard(host.space, family.exempt, 443) == ((family.exempt, 443), None), level
            assert ears.heard(host.space, family.elsewhere, 80) == ((family.elsewhere, 80), None), level
            assert ears.heard(host.space, family.cluster, 80, PROXY_UID) == ((family.cluster, 80), None), level
            for place in ((family.loopback, 80), (family.inside, 80)):  # to this host itself
                assert ears.heard(host.space, *place) == (place, place), level

            for place in ((family.cluster, 80), (family.exempt, 80)):
                match level:
                    case Goal.ON:
                        assert ears.heard(host.space, *place) == ((family.loopback, OUTBOUND), place)
                    case Goal.BLOCK:
                        with pytest.raises(ConnectionRefusedError):
                            dial(host.space, *place)
                    case _:
                        assert ears.heard(host.space, *place) == (place, None)


async def test_the_redirect_comes_before_other_owners_chains(
    host: Host, kernel: DoorRedirector, family: Family
) -> None:
    """As Docker publishes a port, and registered before ours."""
    host.space.run(
        "nft",
        "add table inet docker; add chain inet docker c { type nat hook prerouting priority dstnat; };"
        f"add rule inet docker c tcp dport {APP} redirect to :{UNDECLARED}",
    )
    application = family.host, APP
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, UNDECLARED, INBOUND)
        await kernel.apply(ON, RELEASED)
        assert ears.heard(host.peer, *application) == ((family.host, INBOUND), application)
        await kernel.apply(BLOCK, RELEASED)
        with pytest.raises(ConnectionRefusedError):
            dial(host.peer, *application)
        await kernel.apply(RELEASED, RELEASED)
        assert ears.heard(host.peer, *application) == ((family.host, UNDECLARED), application)


async def test_a_bare_host_is_tracked_from_released_on(host: Host, kernel: DoorRedirector, family: Family) -> None:
    """Without tracking the proxy cannot learn where a connection was going, and resets it."""
    proxy = family.host, INBOUND
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, INBOUND)
        assert ears.heard(host.peer, *proxy) == (proxy, None)
        await kernel.apply(RELEASED, RELEASED)
        assert ears.heard(host.peer, *proxy) == (proxy, proxy)


async def test_open_streams_outlive_every_change(host: Host, kernel: DoorRedirector, family: Family) -> None:
    """On a host that was not tracked before: streams older than the first rule, redirected ones, plain ones."""
    changes = [(ON, ON), (BLOCK, BLOCK), (RELEASED, RELEASED), (ON, ON), (RELEASED, BLOCK), (BLOCK, ON), (ON, OFF)]
    with ExitStack() as stack:
        ears = stack.enter_context(Listeners())
        ears.add(host.space, family.everywhere, APP, INBOUND)
        ears.add(host.space, family.loopback, OUTBOUND)
        ears.add(host.peer, family.cluster, 80)

        def opened() -> list[Stream]:
            streams = [
                ears.stream(host.peer, family.host, APP),
                ears.stream(host.space, family.cluster, 80),
                ears.stream(host.space, family.host, APP),
            ]
            return [stack.enter_context(stream) for stream in streams]

        streams = opened()
        for change in changes:
            await kernel.apply(*change)
            if BLOCK not in change:
                streams += opened()
            for stream in streams:
                stream.flow()
        arrived = {stream.arrived[1] for stream in streams}
        assert arrived == {APP, INBOUND, OUTBOUND, 80}


async def test_a_stream_that_flows_all_the_time_never_notices(host: Host, kernel: DoorRedirector) -> None:
    """Each change replaces the table, and with it the last user of connection tracking and translation."""
    family, stop = FAMILIES[0], threading.Event()

    def pump(stream: Stream) -> int:
        count = 0
        while not stop.is_set():
            stream.flow()
            count += 1
        return count

    with Listeners() as ears:
        ears.add(host.space, family.everywhere, INBOUND)
        await kernel.apply(ON, ON)
        with ears.stream(host.peer, family.host, APP) as stream:
            pumping = asyncio.create_task(asyncio.to_thread(pump, stream))
            try:
                for level in (BLOCK, RELEASED, ON) * 3:
                    await kernel.apply(level, level)
            finally:
                stop.set()
            assert await pumping > 0


# the kernel: bad days ------------------------------------------------------------------------------

NO_RIGHTS = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


def with_nft(replacement: Path | str) -> tuple[str, ...]:
    """The door sees another file where nft is: its mounts are its own."""
    mounts = 'for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ ! -e $nft ] || mount --bind "$0" $nft; done'
    return ("unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', str(replacement))


def stand_in(folder: Path, *lines: str) -> Path:
    path = folder / "nft"
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(0o755)
    return path


async def troubles(redirector: DoorRedirector) -> list[Trouble]:
    found = []
    for call in (redirector.check(), redirector.apply(ON, ON)):
        with pytest.raises(Trouble) as caught:
            await call
        found.append(caught.value)
    return found


async def test_without_rights(host: Host) -> None:
    for trouble in await troubles(DoorRedirector(host.door(*NO_RIGHTS))):
        assert trouble.reason is Reason.REDIRECT_FORBIDDEN
        assert "CAP_NET_ADMIN" in trouble.detail


async def test_without_nft(host: Host) -> None:
    for trouble in await troubles(DoorRedirector(host.door(*with_nft("/dev/null")))):
        assert trouble.reason is Reason.REDIRECT_UNSUPPORTED
        assert "cannot find nft" in trouble.detail


async def test_with_a_kernel_that_lacks_a_part(host: Host, tmp_path: Path) -> None:
    nft = stand_in(
        tmp_path, "echo 'internal:0:0-0: Error: Could not process rule: Operation not supported' >&2", "exit 1"
    )
    for trouble in await troubles(DoorRedirector(host.door(*with_nft(nft)))):
        assert trouble.reason is Reason.REDIRECT_UNSUPPORTED
        assert "this kernel lacks a part" in trouble.detail


async def test_with_an_nft_that_hangs(host: Host, tmp_path: Path) -> None:
    nft = stand_in(tmp_path, "exec sleep 60")
    with pytest.raises(Trouble) as caught:
        await DoorRedirector(host.door(*with_nft(nft))).check()
    assert caught.value.reason is Reason.REDIRECT_FAILED
    assert "within 4 s" in caught.value.detail


async def test_with_an_nft_that_talks_nonsense(host: Host, tmp_path: Path) -> None:
    nft = stand_in(tmp_path, "echo nonsense")
    with pytest.raises(Trouble) as caught:
        await DoorRedirector(host.door(*with_nft(nft))).check()
    assert caught.value.reason is Reason.REDIRECT_FAILED


async def test_without_a_door() -> None:
    for trouble in await troubles(DoorRedirector(Door("/", ["/nonexistent"]))):
        assert trouble.reason is Reason.REDIRECT_FAILED
        assert "cannot run /nonexistent" in trouble.detail


async def test_with_a_door_that_says_nothing() -> None:
    for trouble in await troubles(DoorRedirector(Door("/", ["/bin/false"]))):
        assert trouble.detail == "no answer from /bin/false: exit 1: it said nothing"
