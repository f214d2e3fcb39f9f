"""Two slots of the proxy behind fairlead's rules, by packets: the redirect turns, and no request fails."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from ipaddress import IPv4Address, ip_network

import pytest

from agent.core import proxy
from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, levels, nft, ruleset
from agent.core.slots import NETWORK, Place, Slot, places
from tests.contract.test_linkerd2_proxy import host
from tests.lab.child_proxies import ADDRESS, SETTINGS, UID, ProxyHost, only_child
from tests.lab.http2_peers import ANSWER, Application, Client, connected
from tests.lab.proxy_clients import PORT, dial, listen, listening, meshed, refused

__all__ = ["host"]

PLACES = places()
SPEC = RedirectSpec(UID, (IPv4Address(ADDRESS),), frozenset({PORT}), (ip_network("10.42.0.0/16"),))
ONE_FAMILY = replace(SETTINGS, addresses=(ADDRESS,), grace=600)
WITHIN = 60.0  # seconds
RATE = 50.0  # requests a second


def named(place: Place) -> RedirectSpec:
    return replace(SPEC, inbound_at=place.address, outbound_listener=place.outbound_port, private=place.network)


async def name(host: ProxyHost, slot: Slot, level: Level = Level.ON) -> None:
    """One transaction; what the kernel then has is of this slot and no other."""
    rules = ruleset(named(PLACES[slot]), level, level)
    await host.run("nft", "-j", "-f", host.write("rules.json", json.dumps(nft.transaction(rules))))
    live = nft.read(json.loads(await host.run("nft", "-j", "list", "table", "inet", "fairlead")))
    assert levels(named(PLACES[slot]), live) == (level, level)
    (other,) = set(Slot) - {slot}
    assert levels(named(PLACES[other]), live)[0] is Level.PARTIAL


@contextlib.asynccontextmanager
async def running(host: ProxyHost, slot: Slot) -> AsyncIterator[asyncio.subprocess.Process]:
    """A proxy in this slot, ready."""
    settings = replace(ONE_FAMILY, slot=PLACES[slot])
    whole = proxy.environment(settings, host.path("anchors.pem").read_text())
    words = [f"{name}={value}" for name, value in whole.items()]
    command = host.command("setpriv", f"--reuid={UID}", "env", "-i", *words, host.binary)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        async with asyncio.timeout(WITHIN):
            while await status(host, PLACES[slot].admin_port) != HTTPStatus.OK:
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            os.kill(only_child(process.pid), signal.SIGKILL)
        await process.wait()


async def status(host: ProxyHost, port: int) -> int:
    """Of /ready; 0: nothing listens."""
    try:
        reader, writer = await asyncio.open_connection(sock=dial(host.network, "127.0.0.1", port))
    except OSError:
        return 0
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.close()


async def add_addresses(host: ProxyHost) -> None:
    for place in PLACES.values():
        await host.run("ip", "address", "add", f"{place.address}/32", "dev", "lo", "scope", "host")


@contextlib.asynccontextmanager
async def serving(host: ProxyHost) -> AsyncIterator[Application]:
    await add_addresses(host)
    app = Application()
    listener = host.network.inside(partial(listen, ADDRESS, PORT))
    async with await asyncio.start_server(app.accept, sock=listener):
        yield app
    await app.ended()


class Load:
    """Requests in a steady stream, on one connection as long as the other side lets it."""

    def __init__(self, host: ProxyHost) -> None:
        self._host = host
        self.asked, self.answered, self.connections = 0, 0, 0
        self.failed: list[str] = []

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            self.connections += 1
            connection = await asyncio.to_thread(dial, self._host.client, ADDRESS)
            async with connected(connection, f"{ADDRESS}:{PORT}") as client:
                waiting: set[asyncio.Task[None]] = set()
                while not (until.is_set() or client.told.is_set()):
                    waiting.add(asyncio.create_task(self._one(client)))
                    await asyncio.sleep(1 / RATE)
                await asyncio.gather(*waiting)

    async def _one(self, client: Client) -> None:
        self.asked += 1
        try:
            assert await client.answer(client.ask()) == ANSWER
            self.answered += 1
        except (OSError, AssertionError) as error:
            self.failed.append(repr(error))

    async def more(self, count: int = 20) -> None:
        """So many more have been answered."""
        target = self.answered + count
        async with asyncio.timeout(WITHIN):
            while self.answered < target and not self.failed:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def under_load(host: ProxyHost) -> AsyncIterator[Load]:
    load, over = Load(host), asyncio.Event()
    running = asyncio.create_task(load.run(over))
    try:
        await load.more()
        yield load
    finally:
        over.set()
        await running


async def test_no_request_fails_while_the_redirect_turns_and_the_other_proxy_ends(host: ProxyHost) -> None:
    """Ten times: a second proxy, the turn, SIGTERM to the first, which ends by itself."""
    turns = 10
    async with serving(host), contextlib.AsyncExitStack() as stack:
        stacks = {slot: await stack.enter_async_context(contextlib.AsyncExitStack()) for slot in Slot}
        old = await stacks[Slot.MAIN].enter_async_context(running(host, Slot.MAIN))
        await name(host, Slot.MAIN)
        async with under_load(host) as load:
            for turn in range(turns):
                slot = (Slot.STANDBY, Slot.MAIN)[turn % 2]
                new = await stacks[slot].enter_async_context(running(host, slot))
                await name(host, slot)
                await load.more()
                os.kill(only_child(old.pid), signal.SIGTERM)
                async with asyncio.timeout(WITHIN):
                    assert await old.wait() == 0
                await load.more()
                old = new
        assert load.failed == []
        assert load.connections > turns
        print(f"{load.asked} asked, {len(load.failed)} failed, {load.connections} connections")


async def test_a_peer_that_dials_the_inbound_port_itself_reaches_the_slot_at_every_level(host: ProxyHost) -> None:
    """With the port that it names, whatever is redirected: for the proxy its listener's port stays 4143."""
    await add_addresses(host)
    async with listening(host.network, ADDRESS), running(host, Slot.STANDBY):
        for level in (Level.RELEASED, Level.BLOCK, Level.ON):
            await name(host, Slot.STANDBY, level)
            async with asyncio.timeout(WITHIN):
                line, identity = await meshed(host, SETTINGS.server_name, named=PORT)
            assert line == f"{ADDRESS}\n".encode(), level
            assert identity == ("URI", SETTINGS.identity), level


async def test_a_closed_port_stays_closed_with_slots(host: ProxyHost) -> None:
    async with serving(host), running(host, Slot.MAIN):
        await name(host, Slot.MAIN, Level.BLOCK)
        with pytest.raises(ConnectionRefusedError):
            dial(host.client, ADDRESS)


async def dropped(host: ProxyHost) -> int:
    """Packets to the slots' network that came from outside."""
    listing = json.loads(await host.run("nft", "-j", "list", "chain", "inet", "fairlead", "slots"))
    rules = [entry["rule"] for entry in listing["nftables"] if "rule" in entry]
    (rule,) = [rule for rule in rules if rule["comment"] == "slots: from outside"]
    return int(next(e["counter"]["packets"] for e in rule["expr"] if "counter" in e))


async def test_nothing_from_outside_reaches_the_address_of_a_slot(host: ProxyHost) -> None:
    async with serving(host), running(host, Slot.MAIN):
        host.client.run("ip", "route", "add", str(NETWORK), "via", ADDRESS)
        at = str(PLACES[Slot.MAIN].address)
        assert await refused(host.client, at, proxy.INBOUND_PORT, b"x")  # without the rule the proxy decides
        await name(host, Slot.MAIN)
        with host.client.inside(partial(socket.socket, socket.AF_INET)) as connection:
            connection.setblocking(False)
            assert connection.connect_ex((at, proxy.INBOUND_PORT)) != 0
            async with asyncio.timeout(WITHIN):
                while await dropped(host) == 0:
                    await asyncio.sleep(0.05)
            with pytest.raises(OSError, match="not connected"):
                connection.getpeername()
        assert await refused(host.network, at, proxy.INBOUND_PORT, b"x")  # on the host itself it still does
