"""One unit of systemd, followed over D-Bus: what it is now, and when that may have changed.

Every user of the system bus may read this; it controls nothing. Each watch is a separate connection, opened for
one question and closed after it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, Properties, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus_messages import message_bus

SYSTEM_BUS = "/run/dbus/system_bus_socket"
WITHIN = 3.0  # seconds for one answer

_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _SYSTEMD, f"{_SYSTEMD}.Manager")
_MOST = 1 << 16  # bytes read at once


class BusError(Exception):
    """systemd cannot be asked: why."""


@dataclass(frozen=True)
class UnitState:
    """`main_pid`: 0 where none runs. `code`, `status`: how the last main process ended, CLD_… and its number."""

    active: str  # ActiveState
    sub: str  # SubState
    main_pid: int
    exec_main_pid: int
    code: int
    status: int
    result: str


class UnitWatch:
    """For one task alone. Raises BusError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._parser = reader, writer, Parser()
        self._serial = 0
        self._news = False

    async def state(self) -> UnitState:
        self._news = False
        unit = [await self._property("Unit", name) for name in ("ActiveState", "SubState")]
        names = ("MainPID", "ExecMainPID", "ExecMainCode", "ExecMainStatus", "Result")
        return UnitState(*unit, *[await self._property("Service", name) for name in names])

    async def changed(self) -> None:
        """Return when the unit may have changed since the last state."""
        while not self._news:
            self._note(await self._next())

    async def open(self, unit: str) -> None:
        proof = Authenticator()
        for said in proof:
            self._writer.write(said)
            answer = await self._reader.read(_MOST)
            if not answer:
                raise BusError("it hung up")
            proof.feed(answer)
        self._writer.write(BEGIN)
        await self._call(message_bus.Hello())
        (self._path,) = await self._call(new_method_call(_MANAGER, "LoadUnit", "s", (unit,)))
        rule = MatchRule(type="signal", member="PropertiesChanged", path=self._path)
        await self._call(message_bus.AddMatch(rule))
        await self._call(new_method_call(_MANAGER, "Subscribe"))

    async def _property(self, kind: str, name: str) -> Any:
        place = DBusAddress(self._path, _SYSTEMD, f"{_SYSTEMD}.{kind}")
        ((_, value),) = await self._call(Properties(place).get(name))
        return value

    async def _call(self, message: Message) -> tuple[Any, ...]:
        self._serial += 1
        self._writer.write(message.serialise(self._serial))
        async with _in_time():
            while (answer := await self._next()).header.fields.get(HeaderFields.reply_serial) != self._serial:
                self._note(answer)
        if answer.header.message_type is MessageType.error:
            raise BusError(str(answer.body[0]) if answer.body else "an error without words")
        return tuple(answer.body)

    def _note(self, message: Message) -> None:
        self._news = self._news or message.header.message_type is MessageType.signal

    async def _next(self) -> Message:
        while (message := self._parser.get_next_message()) is None:
            data = await self._reader.read(_MOST)
            if not data:
                raise BusError("it hung up")
            self._parser.add_data(data)
        return message


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WITHIN):
            yield
    except TimeoutError:
        raise BusError("no answer") from None


@asynccontextmanager
async def watching(unit: str, path: str = SYSTEM_BUS) -> AsyncIterator[UnitWatch]:
    """Raises BusError, from the body too."""
    writer = None
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        watch = UnitWatch(reader, writer)
        async with _in_time():
            await watch.open(unit)
        yield watch
    except TimeoutError:  # an OSError, and the body's own
        raise
    except (OSError, AuthenticationError) as error:
        raise BusError(f"{path}: {error}") from None
    finally:
        if writer is not None:
            writer.transport.abort()
