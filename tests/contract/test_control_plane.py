"""The look at the control plane from this host: on loopback, where no name is proved, and without a name.

What TLS says is seen where the control plane is elsewhere: tests/host/scenarios_control.py.
"""

import asyncio
from pathlib import Path

import pytest

from agent.adapters.control_plane import HostControlPlane
from agent.core.facts import ControlPlaneFact
from agent.core.reasons import Fault, Reason
from agent.host import serving
from agent.ports import ControlPlane
from tests.fakes.control_plane import MemoryControlPlane

NAME = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"


def control(policy: str, destination: str) -> HostControlPlane:
    return HostControlPlane(policy, destination, NAME, [Path("/nonexistent")])


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("kind", ["memory", "real"])
async def test_what_accepts_is_there(kind: str) -> None:
    async with serving.closing(await asyncio.start_server(_close, "127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        made: ControlPlane = MemoryControlPlane() if kind == "memory" else control(place, place)
        assert await made.look(dial=True) == ControlPlaneFact()


async def test_what_refuses_is_named_with_its_address_and_what_the_socket_said() -> None:
    server = await asyncio.start_server(_close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await control(f"localhost:{port}", f"127.0.0.1:{port}").look(dial=True)
    assert found.policy is not None and found.policy.reason is Reason.CONTROL_PLANE_UNREACHABLE
    assert found.policy.detail.startswith(f"localhost:{port} at ") and "Connection refused" in found.policy.detail
    expected = Fault(Reason.CONTROL_PLANE_UNREACHABLE, f"127.0.0.1:{port} at 127.0.0.1: Connection refused")
    assert found.destination == expected
    assert await control(f"127.0.0.1:{port}", f"127.0.0.1:{port}").look(dial=False) == ControlPlaneFact()


async def test_a_name_without_an_address_is_named_with_the_file_that_it_was_looked_up_by() -> None:
    found = await control("a..b.:8090", "a..b.:8086").look(dial=False)
    for fault in (found.policy, found.destination):
        assert fault is not None and fault.reason is Reason.CONTROL_PLANE_UNRESOLVED
        assert fault.detail.startswith("a..b.: ") and "(by /etc/resolv.conf" in fault.detail
