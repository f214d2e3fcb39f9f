"""What a client notices of a replacement and of a takeover, on a really booted systemd: docs/proxy.md.

At once, inbound and outbound: a client of HTTP/2 that asks on, streams of HTTP/2 and raw ones that were open
before, and short connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agent.sandbox.stage.http2_client import Broken
from tests.contract.test_proxy_unit_agent import AGENT
from tests.contract.test_proxy_unit_slots import (
    CLIENTS,
    CONFIG,
    TAKEOVER,
    asking,
    at_rest,
    awaited,
    serving,
    slot_of,
    stands_by,
)
from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import grpc_peers, long_streams, netns, unit_machine
from tests.lab.long_streams import HTTP2, KEPT, RAW, Streams, Way
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, CLIENT_SVID, OUTSIDE, PORT, PROXIED, RESET
from tests.lab.unit_machine import dial, dialling_out, levels, pid

pytestmark = pytest.mark.real

GRACE = 20  # seconds: long enough to look at what is left before it ends
RETRIES = 2  # of a request whose connection breaks, as retry.linkerd.io/limit sets it
FEW = 20  # requests


@pytest.fixture(name="slots")
def with_slots(machine: Machine) -> Machine:
    """A host that has two slots from its first start on, and two ports more for HTTP/2 and one for raw TCP."""
    unit_machine.configure(machine, grace=GRACE)
    text = machine.read(CONFIG).replace("[proxy]\n", "[proxy]\nslots = true\n")
    text = text.replace(f"\nports = [{PORT}]", f"\nports = [{PORT}, {HTTP2}, {RAW}, {KEPT}]")
    machine.write(CONFIG, text.replace(f"opaque_ports = [{PORT}]", f"opaque_ports = [{PORT}, {RAW}]"))
    return machine


def ways(machine: Machine, client: netns.Namespace) -> tuple[Way, Way]:
    """Inbound, by a meshed client, and outbound, by a program of the machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=machine.read("/etc/fairlead/trust-anchors.pem"))
    context.load_cert_chain(machine.path(CLIENT_SVID))
    inbound = Way(client, machine.space, ADDRESS, context, "vm-1.mixed.example")
    return inbound, Way(machine.space, client, OUTSIDE[0])


@contextlib.asynccontextmanager
async def streaming(machine: Machine, client: netns.Namespace) -> AsyncIterator[tuple[Streams, Streams]]:
    inbound, outbound = ways(machine, client)
    async with long_streams.streams(inbound) as into, long_streams.streams(outbound) as out:
        yield into, out


async def until(machine: Machine, true: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(machine.wait_until, true, what, 120)


def left(machine: Machine) -> int | None:
    """What the proxy of main still carries while it ends."""
    status = json.loads(machine.try_run("fairlead", "status", "--json").stdout or "{}")
    proxy: Any = status.get("facts", {}).get("proxy", "unknown")
    return proxy["in_flight"] if proxy != "unknown" and proxy["state"] == "stopping" else None


async def test_a_replacement_cuts_what_outlives_grace_and_nothing_else(
    slots: Machine, client: netns.Namespace
) -> None:
    await asyncio.to_thread(serving, slots)
    before = pid(slots)
    async with streaming(slots, client) as both:
        with asking(client) as into, dialling_out(slots) as out:
            order = ("fairlead", "proxy", "restart")
            replacing = asyncio.create_task(asyncio.to_thread(slots.run, *order, within=180))
            await until(slots, lambda: left(slots) == 6, "three streams of each way are left in the old proxy")
            screen = await asyncio.to_thread(slots.run, "fairlead", "status")
            assert re.search(rf"main proxy +pid {before}, stopping, 6 connections left", screen), screen
            for one in both:
                await one.raw.flows()
                one.application.release.set()
                assert await one.ending == "200"
            await until(slots, lambda: left(slots) == 4, "what has ended is no longer left")
            assert not any(one.kept.done() for one in both)
            for one in both:
                await one.raw.over()
                with pytest.raises(Broken):
                    await one.kept
            await replacing
            await until(slots, at_rest(slots), "main serves alone")
            for one in both:
                await one.asked(FEW)
    assert pid(slots) != before
    assert (set(into), set(out)) == ({PROXIED}, {PROXIED})
    for one in both:
        assert (one.load.failed, one.load.again) == ([], 0)


def test_a_replacement_fails_no_call_of_grpc_and_ends_no_stream(slots: Machine, client: netns.Namespace) -> None:
    """By gRPC's own client and server: the stream is open all the time, and the service ends it."""
    serving(slots)
    at = f"{ADDRESS}:{HTTP2}"
    with grpc_peers.service(slots.space, at) as release, grpc_peers.calling(client, at) as found:
        slots.run("fairlead", "proxy", "restart", "--no-wait")
        slots.wait_until(lambda: left(slots) == 1, "the stream is left in the old proxy")
        release.set()
        slots.wait_until(lambda: left(slots) is None, "the old proxy has ended")
        slots.wait_until(at_rest(slots), "main serves alone")
    (called,) = found
    assert (set(called.calls), called.stream) == ({"OK"}, "OK")


async def test_a_takeover_cuts_what_is_open_and_serves_what_comes(slots: Machine, client: netns.Namespace) -> None:
    """Without the agent, so that the standby serves until there is one."""
    slots.write(CONFIG, slots.read(CONFIG).replace("slots = true\n", "slots = true\nstandby = true\n"))
    await asyncio.to_thread(serving, slots)
    await until(slots, lambda: stands_by(slots), "the second slot is proved ready")
    before = pid(slots)
    await until(slots, lambda: awaited(slots, before), "the takeover waits for main")
    await asyncio.to_thread(slots.systemctl, "stop", AGENT)
    async with streaming(slots, client) as both:
        for one in both:
            one.load.retries = RETRIES
            await one.asked(FEW)  # each of them from here on may be repeated
        with asking(client) as into, dialling_out(slots) as out:
            slots.kill(before)
            for one in both:
                await one.raw.over()
                for held in (one.ending, one.kept):
                    with pytest.raises(Broken):
                        await held
            await until(slots, lambda: "go to the second slot" in slots.journal(TAKEOVER), "it has taken over")
            assert slot_of(slots) == "standby"
            async with contextlib.AsyncExitStack() as stack:
                later = [await stack.enter_async_context(long_streams.opened(one.way)) for one in both]
                for one in both:
                    await one.asked(FEW)
                await asyncio.to_thread(slots.systemctl, "start", AGENT)
                await until(slots, lambda: slot_of(slots) == "main", "main serves again")
                for one in both:
                    await one.asked(FEW)
                for raw in later:
                    await raw.flows()  # it stays in the proxy that accepted it
    assert set(into) <= {PROXIED, RESET} and set(out) <= {PROXIED, RESET}
    assert into[RESET] <= CLIENTS, "what the proxy that died had accepted, and nothing that came later"
    assert out.count(RESET) <= 1, "the same of the one that dials out"
    assert PROXIED == dial(client) == out[-1]
    assert levels(slots) == ("on", "on")
    assert [one.load.failed for one in both] == [[], []]
