"""The conditions are written only once it is known whose Lease it is."""

import asyncio

import pytest

from agent.core.facts import UNKNOWN, LeaseFact
from agent.core.reasons import Fault, Reason
from tests.loops.running import running
from tests.loops.test_status import NO, Scene

pytestmark = pytest.mark.status


async def test_nothing_is_written_before_the_lease_was_read() -> None:
    """It may be another machine's, which serves under this name. An API server that does not answer proves
    nothing; that there is no Lease is an answer."""
    scene = Scene()
    scene.show(NO)
    lease = scene.board.setter("lease")
    lease(UNKNOWN)
    async with running(scene.loop.run()):
        await asyncio.sleep(60)
        assert scene.api.patches == []
        for reason in Reason.API_UNREACHABLE, Reason.API_REFUSED, Reason.MACHINE_DIFFERS:
            lease(LeaseFact(fault=Fault(reason)))
            await asyncio.sleep(60)
            assert scene.api.patches == [], reason
        lease(LeaseFact(fault=Fault(Reason.LEASE_MISSING)))
        await asyncio.sleep(1)
        assert len(scene.api.patches) == 1
