import asyncio
from contextlib import AbstractAsyncContextManager

from agent.core.facts import UNKNOWN, AddressesFact
from agent.core.reasons import Reason
from agent.loops.addresses import GONE_FOR, PACE, RECHECK, AddressesLoop
from agent.ports import Trouble
from tests.fakes.interfaces import MemoryInterfaces
from tests.loops.recording import recorded
from tests.loops.running import running

ONE, TWO = "192.0.2.10", "2001:db8::10"
BLIND = Trouble(Reason.ADDRESSES_UNREADABLE, "no")


class Scene:
    def __init__(self, *here: str) -> None:
        self.interfaces = MemoryInterfaces(*here)
        self.told: list[AddressesFact] = []
        self.loop = AddressesLoop(self.interfaces, (ONE, TWO), recorded("addresses", self.told))

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.loop.run())


async def test_an_address_that_comes_later_heals_the_host_by_itself() -> None:
    scene = Scene(TWO)
    async with scene.running():
        await asyncio.sleep(10)
        assert scene.told == [AddressesFact((ONE,))]
        scene.interfaces.add(ONE)
        await asyncio.sleep(2 * PACE)
        assert scene.told[1:] == [AddressesFact(())]
        looks = scene.interfaces.looks
        await asyncio.sleep(10 * RECHECK)
        assert scene.interfaces.looks - looks <= 11 and len(scene.told) == 2


async def test_an_address_that_goes_for_a_moment_is_not_told() -> None:
    scene = Scene(ONE, TWO)
    async with scene.running():
        await asyncio.sleep(10)
        scene.interfaces.remove(ONE)
        await asyncio.sleep(GONE_FOR / 2)
        scene.interfaces.add(ONE)
        await asyncio.sleep(10)
        assert scene.told == [AddressesFact(())]
        scene.interfaces.remove(ONE)
        await asyncio.sleep(GONE_FOR + 2 * PACE)
        assert scene.told[1:] == [AddressesFact((ONE,))]


async def test_a_reading_that_fails_leaves_what_was_known() -> None:
    scene = Scene(TWO)
    scene.interfaces.trouble = BLIND
    async with scene.running():
        await asyncio.sleep(1)
        assert scene.told[-1] == AddressesFact(UNKNOWN, BLIND.fault)
        scene.interfaces.trouble = None
        await asyncio.sleep(RECHECK + 1)
        assert scene.told[-1] == AddressesFact((ONE,))
        scene.interfaces.trouble = BLIND
        await asyncio.sleep(RECHECK + 1)
        assert scene.told[-1] == AddressesFact((ONE,), BLIND.fault)


async def test_changes_that_are_not_told_are_found_by_the_clock() -> None:
    scene = Scene(ONE)
    scene.interfaces.silent = BLIND
    async with scene.running():
        await asyncio.sleep(1)
        scene.interfaces.add(TWO)
        await asyncio.sleep(RECHECK + 1)
        assert scene.told == [AddressesFact((TWO,)), AddressesFact(())]
