"""The checks of the machine and the running agent, each with a real passing and a real failing situation."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent import __version__
from agent.core.doctor.check import Result
from agent.core.reasons import Reason
from agent.host import Host, serving
from tests.offline.doctor.conftest import examined, patient
from tests.offline.test_preflight import VERSION, binary


@asynccontextmanager
async def answering(host: Path, **status: Any) -> AsyncIterator[None]:
    """An agent that answers each request with this status."""
    body = json.dumps(
        {"agent": __version__, "headline": "Ready: x", "facts": {}, "problems": [], **status}
    ).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    path = Host(host).socket
    path.parent.mkdir(parents=True)
    server = await asyncio.start_unix_server(serve, path)
    async with serving.closing(server):
        yield


async def test_an_agent_that_does_not_run_is_named(root: None, host: Path) -> None:
    async with patient(host):
        found = await examined(host, "agent", "versions")
        assert "no agent runs" in found["agent"].outcome.why and found["agent"].outcome.result is Result.FAIL
        assert found["versions"].behind == "agent"


async def test_an_agent_of_another_version_is_a_warning(root: None, host: Path) -> None:
    async with patient(host), answering(host, agent="0.0.1"):
        found = await examined(host, "agent", "versions")
        assert found["agent"].outcome.why == "Ready: x"
        assert found["versions"].outcome.result is Result.WARN


async def test_an_edit_that_the_agent_has_not_read_is_a_warning(root: None, host: Path) -> None:
    async with patient(host), answering(host, configuration_digest="of other values"):
        found = await examined(host, "agent", "versions")
        assert found["versions"].outcome.fix == "fairlead reload"


async def test_an_agent_that_hangs_is_unknown(root: None, host: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    path = Host(host).socket
    path.parent.mkdir(parents=True)
    async with patient(host), serving.closing(await asyncio.start_unix_server(deaf, path)):
        found = await examined(host, "agent", each=1.0)
        assert found["agent"].outcome.result is Result.UNKNOWN


async def test_without_a_binary_that_is_named(root: None, host: Path) -> None:
    async with patient(host):
        found = await examined(host, "proxy-binary")
        assert Reason.PROXY_BINARY_UNUSABLE in found["proxy-binary"].outcome.why


async def test_a_binary_that_refuses_an_empty_environment_starts(root: None, host: Path) -> None:
    binary(host, VERSION, "#!/bin/sh\nexit 64\n")
    (host / "var/lib/fairlead/proxy/current").symlink_to(VERSION)
    async with patient(host):
        assert (await examined(host, "proxy-binary"))["proxy-binary"].outcome.why == "it starts"


async def test_the_privileged_helper_answers(root: None, host: Path) -> None:
    async with patient(host):
        assert (await examined(host, "helper"))["helper"].outcome.result is Result.OK


async def test_space_and_limits_are_read(root: None, host: Path) -> None:
    async with patient(host), answering(host):
        found = await examined(host, "disk", "limits")
        assert found["disk"].outcome.result is Result.OK and "MiB left" in found["disk"].outcome.why
        assert found["limits"].outcome.result is Result.OK
