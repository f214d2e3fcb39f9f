"""Two hosts that were made from one image, with one machine-id and one Lease: each finds the other's renewals."""

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from agent.core.facts import AddressesFact, AgentFact, LeaseFact
from agent.core.health import Spec
from agent.core.machines import BOOT_ID, MACHINE, REMEMBERED
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.lease import LeaseLoop
from agent.ports import Lease, Trouble
from tests.fakes.status_api import MemoryStatusApi
from tests.loops.running import running

pytestmark = [pytest.mark.status, pytest.mark.watcher]
ADDRESS = "192.0.2.10"


class Twin:
    def __init__(self, api: MemoryStatusApi, name: str, *, absent: tuple[str, ...] = ()) -> None:
        self.api, self.board, self.name = api, Board(), name
        publish: Callable[[LeaseFact], None] = self.board.setter("lease")
        spec = Spec("spiffe://td/db", "db.sni", (ADDRESS,), (), boot_id=f"boot-{name}", workload="shop/db-1")
        self.loop = LeaseLoop(api, spec, self.board, publish, name, self._wall, lambda: 0.3, machine="image")
        self.board.setter("addresses")(AddressesFact(absent))
        self.board.setter("agent")(AgentFact(0.0))

    def _wall(self) -> str:
        """Never that of the other."""
        return f"{asyncio.get_running_loop().time():.6f}-{self.name}"

    def addresses(self, absent: tuple[str, ...]) -> None:
        self.board.setter("addresses")(AddressesFact(absent))

    @property
    def fact(self) -> LeaseFact:
        fact = self.board.facts.value.lease
        assert isinstance(fact, LeaseFact)
        return fact

    @property
    def reason(self) -> Reason | None:
        return self.fact.fault.reason if self.fact.fault else None


@pytest.fixture
def api() -> MemoryStatusApi:
    api = MemoryStatusApi()
    api.lease = Lease(annotations={BOOT_ID: "boot-one"})
    return api


async def decide(seconds: int, *twins: Twin) -> None:
    """The decision loops beat for so long."""
    for _ in range(seconds):
        for twin in twins:
            twin.board.decided_at = asyncio.get_running_loop().time()
        await asyncio.sleep(1)


async def test_the_one_without_the_address_renews_no_more(api: MemoryStatusApi) -> None:
    one, two = Twin(api, "one"), Twin(api, "two", absent=(ADDRESS,))
    async with running(one.loop.run()):
        await decide(12, one)
        async with running(two.loop.run()):
            await decide(60, one, two)
            assert (one.reason, two.reason) == (Reason.HOST_DUPLICATED, Reason.HOST_DUPLICATED)
            assert two.fact.fault is not None
            assert two.fact.fault.detail == "one renews it too; boot id in the Lease: boot-one, here: boot-two"
            last = two.fact.renewed_at
            await decide(1200, one, two)
            assert two.fact.renewed_at == last and two.reason is Reason.HOST_DUPLICATED
            assert api.lease is not None and api.lease.holder == "one"
            assert one.reason is None, "it has the Lease to itself"
            two.addresses(())
            one.addresses((ADDRESS,))  # the address moves
            await decide(60, one, two)
            assert api.lease.holder == "two" and one.reason is Reason.HOST_DUPLICATED


async def test_the_copy_hands_nothing_over_as_it_ends(api: MemoryStatusApi) -> None:
    one, two = Twin(api, "one"), Twin(api, "two", absent=(ADDRESS,))
    async with running(one.loop.run()):
        async with running(two.loop.run()):
            await decide(60, one, two)
        await two.loop.handover()
        assert api.lease is not None and (api.lease.holder, api.lease.duration) == ("one", 40)


async def test_both_renew_while_both_have_the_address_and_each_reports_it(api: MemoryStatusApi) -> None:
    """One of them may be reached; which, this host cannot know."""
    one, two = Twin(api, "one"), Twin(api, "two")
    async with running(one.loop.run(), two.loop.run()):
        await decide(60, one, two)
        before = one.fact.renewed_at, two.fact.renewed_at
        assert (one.reason, two.reason) == (Reason.HOST_DUPLICATED, Reason.HOST_DUPLICATED)
        await decide(11, one, two)
        assert None not in before and before[0] != one.fact.renewed_at and before[1] != two.fact.renewed_at


async def test_the_copy_serves_once_the_other_is_gone(api: MemoryStatusApi) -> None:
    one, two = Twin(api, "one"), Twin(api, "two", absent=(ADDRESS,))
    async with running(two.loop.run()):
        async with running(one.loop.run()):
            await decide(60, one, two)
            assert two.reason is Reason.HOST_DUPLICATED
        await decide(int(REMEMBERED) + 30, two)
        assert two.reason is None and api.lease is not None and api.lease.holder == "two"


@pytest.mark.parametrize("lost", ["the answer", "nothing"])
async def test_one_host_is_never_its_own_twin(api: MemoryStatusApi, lost: str) -> None:
    """Whether an operator annotates the Lease between its renewals, or answers to them are lost."""
    one = Twin(api, "one", absent=(ADDRESS,))
    taken = api.renew_lease

    async def unheard(lease: Lease) -> Lease:
        await taken(lease)
        raise Trouble(Reason.API_TIMEOUT)

    async with running(one.loop.run()):
        for round_ in range(10):
            await decide(12, one)
            if lost == "the answer":
                api.renew_lease = unheard if round_ % 2 else taken  # type: ignore[method-assign]  # for one round
                continue
            assert api.lease is not None
            noted = {**api.lease.annotations, "example.org/note": str(round_)}
            api.lease = dataclasses.replace(api.lease, annotations=noted, version=f"of-another-{round_}")
        api.renew_lease = taken  # type: ignore[method-assign]  # for one round
        await decide(30, one)
        assert one.reason is None and one.fact.renewed_at is not None
        assert one.fact.renewed_at > asyncio.get_running_loop().time() - 11


async def test_a_restarted_agent_takes_its_predecessor_for_no_twin(api: MemoryStatusApi) -> None:
    """Its last renewal may arrive after the Lease was read."""
    before, after = Twin(api, "one", absent=(ADDRESS,)), Twin(api, "one", absent=(ADDRESS,))
    async with running(before.loop.run()):
        await decide(12, before)
    async with running(after.loop.run()):
        await asyncio.sleep(0)
        assert api.lease is not None
        await api.renew_lease(dataclasses.replace(api.lease, renew_time="the last one", duration=600, version=""))
        await decide(60, after)
        assert after.reason is None and api.lease.annotations[MACHINE] == "image"
