"""What a start of the proxy's unit waits for, by the records that its programs leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from agent.adapters import proxy_unit, unit_bus
from agent.adapters.helper import Helper
from agent.core import gate_record, prepared
from agent.core.proxy import ProxySettings
from agent.core.reasons import Fault, Reason
from agent.host import Host
from agent.ports import Trouble

NOT_YET = Fault(Reason.PROXY_STARTING, "its unit has not come to start it yet")
DENIED = Fault(Reason.IDENTITY_UNTRUSTED, "it is of another root")


class Restarting:
    """A unit that systemd starts again each time, too short-lived to be seen."""

    async def state(self) -> unit_bus.UnitState:
        return unit_bus.UnitState("activating", "start", 0, 0, 0, 0, "success")

    async def changed(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    @asynccontextmanager
    async def watching(_unit: str, _bus: str = "") -> AsyncIterator[Restarting]:
        yield Restarting()

    monkeypatch.setattr(unit_bus, "watching", watching)
    monkeypatch.setattr(proxy_unit, "GATE_SAYS", 0.05)
    host = Host(tmp_path)
    host.prepared.mkdir(parents=True)
    host.gate.parent.mkdir(parents=True)
    return host


async def said(host: Host) -> Fault:
    runtime = proxy_unit.UnitProxy(lambda: cast(ProxySettings, None), Helper("/nonexistent"), host.prefix)
    with pytest.raises(Trouble) as raised:
        await runtime.start()
    return raised.value.fault


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        ("", NOT_YET),
        ("7.1 success killed TERM\n", NOT_YET),
        ("7.1 success exited 75\n", NOT_YET),
        ("7.1 exit-code exited 3\n", Fault(Reason.PROXY_CRASHED, "exit 3")),
        ("7.1 exit-code exited 101\n", Fault(Reason.PROXY_PANICKED, "exit 101: it panicked")),
    ],
)
async def test_a_proxy_that_ends_before_it_is_seen_is_reported_by_its_end(
    host: Host, end: str, fault: Fault
) -> None:
    (host.prepared / prepared.ENDED).write_text(end)
    found = await said(host)
    assert found.reason is fault.reason and found.detail.startswith(fault.detail)


async def test_what_the_gate_says_comes_before_how_the_last_one_ended(host: Host) -> None:
    host.gate.write_text(gate_record.written(DENIED))
    (host.prepared / prepared.ENDED).write_text("7.1 exit-code exited 3\n")
    assert await said(host) == DENIED
