"""A connection to the system bus: authentication, calls and their answers, properties of systemd's units."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, Properties, new_method_call
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus_messages import message_bus

SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
SYSTEMD: Final = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", SYSTEMD, f"{SYSTEMD}.Manager")
_MOST: Final = 1 << 16  # bytes read at once


class BusError(Exception):
    """systemd cannot be asked: why."""


class HungUp(BusError):
    def __init__(self) -> None:
        super().__init__("it hung up")


class Connection:
    """Used by one task. Raises OSError, BusError. `note` gets every message but the answer to a call."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[Message], None],
    ) -> None:
        self._reader, self._writer, self._parser = reader, writer, Parser()
        self._note, self._serial = note, 0

    async def hello(self) -> None:
        """Raises AuthenticationError too."""
        proof = Authenticator()
        for said in proof:
            self._writer.write(said)
            proof.feed(await self._read())
        self._writer.write(BEGIN)
        await self._call(message_bus.Hello())

    async def subscribe(self, rule: MatchRule) -> None:
        """To these signals, which systemd sends to subscribers alone."""
        await self._call(message_bus.AddMatch(rule))
        await self._call(new_method_call(_MANAGER, "Subscribe"))

    async def load(self, unit: str) -> str:
        """The unit's object path."""
        (path,) = await self._call(new_method_call(_MANAGER, "LoadUnit", "s", (unit,)))
        return str(path)

    async def unit_property(self, path: str, kind: str, name: str) -> Any:
        """`kind`: Unit, Service."""
        ((_, value),) = await self._call(Properties(DBusAddress(path, SYSTEMD, f"{SYSTEMD}.{kind}")).get(name))
        return value

    async def hear(self) -> None:
        """Wait for one message."""
        self._note(await self._next())

    async def _call(self, message: Message) -> tuple[Any, ...]:
        self._serial += 1
        self._writer.write(message.serialise(self._serial))
        while (answer := await self._next()).header.fields.get(HeaderFields.reply_serial) != self._serial:
            self._note(answer)
        if answer.header.message_type is MessageType.error:
            raise BusError(str(answer.body[0]) if answer.body else "an error without words")
        return tuple(answer.body)

    async def _next(self) -> Message:
        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(await self._read())
        return message

    async def _read(self) -> bytes:
        data = await self._reader.read(_MOST)
        if not data:
            raise HungUp
        return data


@asynccontextmanager
async def connected(path: str, note: Callable[[Message], None]) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Connection(reader, writer, note)
    finally:
        writer.transport.abort()
