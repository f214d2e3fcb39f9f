"""The contract of ports.Interfaces: by a variable, and by the kernel in a network namespace of its own."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from agent.adapters.interfaces import HostInterfaces
from agent.core.reasons import Reason
from agent.ports import Interfaces, Trouble
from tests.fakes.interfaces import MemoryInterfaces
from tests.lab.netns import Namespace, namespace

FOUR, SIX, OTHER = "192.0.2.10", "2001:db8::10", "198.51.100.7"
PATIENCE = 15.0  # seconds


class Memory:
    def __init__(self) -> None:
        self.interfaces = MemoryInterfaces()

    def add(self, address: str) -> None:
        self.interfaces.add(address)

    def remove(self, address: str) -> None:
        self.interfaces.remove(address)

    async def absent(self, *addresses: str) -> tuple[str, ...]:
        return await self.interfaces.absent(addresses)

    async def watch(self) -> Interfaces:
        await self.interfaces.changed()
        return self.interfaces


class Kernel:
    """A socket belongs to the namespace in which it was made, wherever it is used later."""

    def __init__(self, space: Namespace) -> None:
        self.space, self.interfaces = space, HostInterfaces()
        space.ip("link add dial type veth peer name other")
        for one in ("other", "dial"):
            space.ip(f"link set {one} up")

    def add(self, address: str) -> None:
        self.space.ip(f"address add {address} dev dial nodad")

    def remove(self, address: str) -> None:
        self.space.ip(f"address del {address}{'/128' if ':' in address else '/32'} dev dial")

    async def absent(self, *addresses: str) -> tuple[str, ...]:
        return self.space.inside(lambda: asyncio.run(self.interfaces.absent(addresses)))

    async def watch(self) -> Interfaces:
        self.space.inside(lambda: asyncio.run(self.interfaces.changed()))
        return self.interfaces


@pytest.fixture
def kernel(root: None) -> Iterator[Kernel]:
    with namespace() as space:
        made = Kernel(space)
        with closing(made.interfaces):
            yield made


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.real)])
def world(request: pytest.FixtureRequest) -> Memory | Kernel:
    made: Memory | Kernel = Memory() if request.param == "memory" else request.getfixturevalue("kernel")
    return made


async def test_what_no_interface_has_is_absent(world: Memory | Kernel) -> None:
    assert await world.absent(FOUR, SIX) == (FOUR, SIX)
    world.add(SIX)
    assert await world.absent(FOUR, SIX) == (FOUR,)
    world.add(FOUR)
    assert await world.absent(FOUR, SIX) == ()
    world.remove(FOUR)
    assert await world.absent(FOUR, SIX) == (FOUR,)


async def test_cases_addresses_are_values(world: Memory | Kernel) -> None:
    world.add(SIX)
    world.add(FOUR)
    assert await world.absent("2001:DB8:0::10", "::ffff:192.0.2.10") == ()


@pytest.mark.parametrize("address", [FOUR, SIX])
async def test_an_address_that_comes_or_goes_is_told(world: Memory | Kernel, address: str) -> None:
    interfaces = await world.watch()
    for act in (world.add, world.remove):
        act(address)
        async with asyncio.timeout(PATIENCE):
            await interfaces.changed()
    waits = asyncio.ensure_future(interfaces.changed())
    done, _ = await asyncio.wait({waits}, timeout=0.1)
    waits.cancel()
    assert not done, "what was told once is told once"


# the kernel alone -----------------------------------------------------------------------------------


@pytest.mark.real
async def test_an_address_of_a_local_route_is_there(kernel: Kernel) -> None:
    assert await kernel.absent(OTHER) == (OTHER,)
    kernel.space.ip("route add local 198.51.100.0/24 dev lo")
    assert await kernel.absent(OTHER, FOUR) == (FOUR,)
    kernel.space.ip("route add blackhole 192.0.2.10/32")
    assert await kernel.absent(FOUR) == (FOUR,)


@pytest.mark.real
async def test_an_address_of_an_interface_in_a_vrf_is_there(kernel: Kernel) -> None:
    """No route of the main table leads to it. Not every kernel has VRFs."""
    kernel.add(FOUR)
    if "vrf" not in _kinds(kernel):
        kernel.space.ip("route del table local 192.0.2.10/32")  # as good as: known by its interface alone
    else:
        kernel.space.ip("link set dial master v")
    assert await kernel.absent(FOUR) == ()


def _kinds(kernel: Kernel) -> set[str]:
    try:
        kernel.space.ip("link add v type vrf table 10")
    except AssertionError:
        return set()
    return {"vrf"}


@pytest.mark.real
async def test_an_address_that_is_not_proved_unique_is_absent(kernel: Kernel) -> None:
    """Duplicate address detection takes a second, and until its end the kernel refuses connections."""
    kernel.space.run("sysctl", "-qw", "net.ipv6.conf.dial.dad_transmits=3", "net.ipv6.conf.dial.accept_dad=1")
    interfaces = await kernel.watch()
    kernel.space.ip(f"address add {SIX}/64 dev dial")
    assert await kernel.absent(SIX) == (SIX,)
    async with asyncio.timeout(PATIENCE):
        while await kernel.absent(SIX):
            await interfaces.changed()


async def test_a_loopback_that_is_down_is_named(root: None) -> None:
    with namespace() as space:
        kernel = Kernel(space)
        kernel.add(FOUR)
        assert await kernel.absent(FOUR) == ()
        space.ip("link set lo down")
        with pytest.raises(Trouble) as caught:
            await kernel.absent(FOUR)
        assert (caught.value.reason, caught.value.detail) == (Reason.LOOPBACK_DOWN, "the interface lo is down")
        space.ip("link set lo up")
        assert await kernel.absent(FOUR) == ()


async def test_a_kernel_that_may_not_be_asked_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", forbidden)
    for asked in (HostInterfaces().absent([FOUR]), HostInterfaces().changed()):
        with pytest.raises(Trouble) as caught:
            await asked
        assert caught.value.reason is Reason.ADDRESSES_UNREADABLE
        assert "not supported" in caught.value.detail
