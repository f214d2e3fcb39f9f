"""Two slots of the proxy behind fairlead's rules, by packets: the redirect turns, and no request fails."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network

import pytest

from agent.core import proxy
from agent.core.addresses import Network
from agent.core.facts import Level
from agent.core.proxy import ProxySettings
from agent.core.redirect import RedirectSpec, levels, nft, ruleset
from agent.core.slots import NETWORKS, Place, Slot, places
from agent.host.serving import closing
from agent.privileged.redirect import specification
from tests.contract.test_linkerd2_proxy import host
from tests.lab.child_proxies import ADDRESS, ADDRESS6, SETTINGS, UID, ProxyHost, only_child
from tests.lab.http2_peers import ANSWER, Application, Client, connected
from tests.lab.proxy_clients import PORT, dial, listen, listening, meshed, refused

__all__ = ["host"]

WITHIN = 60.0  # seconds
RATE = 50.0  # requests a second


@dataclass(frozen=True)
class Two:
    """A host with two slots, whose workload has this address and no other."""

    host: ProxyHost
    address: str

    @property
    def network(self) -> Network:
        return NETWORKS[ip_address(self.address).version]

    @property
    def places(self) -> Mapping[Slot, Place]:
        return places(self.network)

    @property
    def settings(self) -> ProxySettings:
        return replace(SETTINGS, addresses=(self.address,), grace=600)

    def named(self, slot: Slot) -> RedirectSpec:
        place, networks = self.places[slot], (ip_network("10.42.0.0/16"), ip_network("fd42::/64"))
        spec = RedirectSpec(UID, (ip_address(self.address),), frozenset({PORT}), networks)
        return specification.named(spec, place)


@pytest.fixture(params=[ADDRESS, ADDRESS6], ids=["IPv4", "IPv6"])
def two(host: ProxyHost, request: pytest.FixtureRequest) -> Two:
    return Two(host, request.param)


async def name(two: Two, slot: Slot, level: Level = Level.ON) -> None:
    """One transaction; what the kernel then has is of this slot and no other."""
    host, rules = two.host, ruleset(two.named(slot), level, level)
    await host.run("nft", "-j", "-f", host.write("rules.json", json.dumps(nft.transaction(rules))))
    live = nft.read(json.loads(await host.run("nft", "-j", "list", "table", "inet", "fairlead")))
    assert levels(two.named(slot), live) == (level, level)
    (other,) = set(Slot) - {slot}
    assert levels(two.named(other), live)[0] is Level.PARTIAL


@contextlib.asynccontextmanager
async def running(two: Two, slot: Slot) -> AsyncIterator[asyncio.subprocess.Process]:
    """A proxy in this slot, ready."""
    host, place = two.host, two.places[slot]
    settings = replace(two.settings, slot=place)
    whole = proxy.environment(settings, host.path("anchors.pem").read_text())
    words = [f"{name}={value}" for name, value in whole.items()]
    command = host.command("setpriv", f"--reuid={UID}", "env", "-i", *words, host.binary)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        async with asyncio.timeout(WITHIN):
            while await status(host, place.admin_port) != HTTPStatus.OK:
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


async def add_addresses(two: Two) -> None:
    for place in two.places.values():
        await two.host.run("ip", "address", "add", f"{place.address}/{place.address.max_prefixlen}", "dev", "lo")


@contextlib.asynccontextmanager
async def serving(two: Two) -> AsyncIterator[Application]:
    await add_addresses(two)
    app = Application()
    listener = two.host.network.inside(partial(listen, two.address, PORT))
    async with closing(await asyncio.start_server(app.accept, sock=listener)):
        yield app
    await app.ended()


class Load:
    """Requests in a steady stream, on one connection as long as the other side lets it."""

    def __init__(self, two: Two) -> None:
        self._two = two
        self.asked, self.answered, self.connections = 0, 0, 0
        self.failed: list[str] = []

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            self.connections += 1
            connection = await asyncio.to_thread(dial, self._two.host.client, self._two.address)
            async with connected(connection, proxy.host_port((self._two.address, PORT))) as client:
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
async def under_load(two: Two) -> AsyncIterator[Load]:
    load, over = Load(two), asyncio.Event()
    running = asyncio.create_task(load.run(over))
    try:
        await load.more()
        yield load
    finally:
        over.set()
        await running


async def test_no_request_fails_while_the_redirect_turns_and_the_other_proxy_ends(two: Two) -> None:
    """Ten times: a second proxy, the turn, SIGTERM to the first, which ends by itself."""
    turns = 10
    async with serving(two), contextlib.AsyncExitStack() as stack:
        stacks = {slot: await stack.enter_async_context(contextlib.AsyncExitStack()) for slot in Slot}
        old = await stacks[Slot.MAIN].enter_async_context(running(two, Slot.MAIN))
        await name(two, Slot.MAIN)
        async with under_load(two) as load:
            for turn in range(turns):
                slot = (Slot.STANDBY, Slot.MAIN)[turn % 2]
                new = await stacks[slot].enter_async_context(running(two, slot))
                await name(two, slot)
                await load.more()
                os.kill(only_child(old.pid), signal.SIGTERM)
                async with asyncio.timeout(WITHIN):
                    assert await old.wait() == 0
                await load.more()
                old = new
        assert load.failed == []
        assert load.connections > turns
        print(f"{load.asked} asked, {len(load.failed)} failed, {load.connections} connections")


async def test_a_peer_that_dials_the_inbound_port_itself_reaches_the_slot_at_every_level(two: Two) -> None:
    """With the port that it names, whatever is redirected: for the proxy its listener's port stays 4143."""
    await add_addresses(two)
    async with listening(two.host.network, two.address), running(two, Slot.STANDBY):
        for level in (Level.RELEASED, Level.BLOCK, Level.ON):
            await name(two, Slot.STANDBY, level)
            async with asyncio.timeout(WITHIN):
                line, identity = await meshed(two.host, SETTINGS.server_name, named=PORT, address=two.address)
            assert line == f"{two.address}\n".encode(), level
            assert identity == ("URI", SETTINGS.identity), level


async def test_a_closed_port_stays_closed_with_slots(two: Two) -> None:
    async with serving(two), running(two, Slot.MAIN):
        await name(two, Slot.MAIN, Level.BLOCK)
        with pytest.raises(ConnectionRefusedError):
            dial(two.host.client, two.address)


async def dropped(host: ProxyHost) -> int:
    """Packets to the slots' network that came from outside."""
    listing = json.loads(await host.run("nft", "-j", "list", "chain", "inet", "fairlead", "slots"))
    rules = [entry["rule"] for entry in listing["nftables"] if "rule" in entry]
    (rule,) = [rule for rule in rules if rule["comment"] == "slots: from outside"]
    return int(next(e["counter"]["packets"] for e in rule["expr"] if "counter" in e))


async def test_nothing_from_outside_reaches_the_address_of_a_slot(two: Two) -> None:
    async with serving(two), running(two, Slot.MAIN):
        client = two.host.client
        client.run("ip", "route", "add", str(two.network), "via", two.address)
        kind = socket.AF_INET if two.network.version == 4 else socket.AF_INET6
        at = str(two.places[Slot.MAIN].address)
        assert await refused(client, at, proxy.INBOUND_PORT, b"x")  # without the rule the proxy decides
        await name(two, Slot.MAIN)
        with client.inside(partial(socket.socket, kind)) as connection:
            connection.setblocking(False)
            assert connection.connect_ex((at, proxy.INBOUND_PORT)) != 0
            async with asyncio.timeout(WITHIN):
                while await dropped(two.host) == 0:
                    await asyncio.sleep(0.05)
            with pytest.raises(OSError, match="not connected"):
                connection.getpeername()
        assert await refused(two.host.network, at, proxy.INBOUND_PORT, b"x")  # on the host itself it still does
