"""A nameserver at an address of loopback, which knows a few names; or one that never answers."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from agent.adapters import dns_records

# Of this process: tests run side by side.
ADDRESS = f"127.77.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
_KINDS = {number: kind for kind, number in dns_records.KINDS.items()}


class Nameserver(asyncio.DatagramProtocol):
    """`records`: name → kinds of which it has one record. `code`: of an answer without one. `first`: what it sends
    before each answer."""

    def __init__(self, records: Mapping[str, str], code: int = 3, first: bytes = b"") -> None:
        self.records, self.code, self.first = records, code, first
        self.asked: list[tuple[str, str]] = []
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind = _KINDS[struct.unpack_from(">H", data, at + 1)[0]]
        name = ".".join(labels)
        self.asked.append((name, kind))
        there = kind in self.records.get(name, "").split()
        code = 0 if name in self.records else self.code
        head = struct.pack(">2s5H", data[:2], 0x8180 | code, 1, int(there), 0, 0)
        for answer in filter(None, (self.first, head + data[12:])):
            self._transport.sendto(answer, peer)


@asynccontextmanager
async def serving(server: Nameserver) -> AsyncIterator[Nameserver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, (ADDRESS, 53))
    try:
        yield server
    finally:
        transport.close()
        await server.closed.wait()


@asynccontextmanager
async def silent() -> AsyncIterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((ADDRESS, 53))
        yield


def used(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, hosts: str = "127.0.0.1 localhost\n") -> None:
    """The resolv.conf and the hosts file that are read."""
    for name, content in (("RESOLV_CONF", text), ("HOSTS", hosts)):
        path = folder / name.lower()
        path.write_text(content)
        monkeypatch.setattr(dns_records, name, path)
