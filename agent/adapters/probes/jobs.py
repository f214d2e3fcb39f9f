"""Units that root wrote, started through the privileged helper; systemd says on the system bus how their jobs end.

Nothing is polled: the bus is asked to report the unit's jobs before one is started. systemd unloads a finished
unit without references, with its result, but still reports how its job ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, Properties, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus_messages import message_bus

from agent.adapters.helper import Helper
from agent.core.probe import Attempt, ProbeSpec
from agent.core.reasons import Reason
from agent.ports import Trouble

SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
_SYSTEMD: Final = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _SYSTEMD, f"{_SYSTEMD}.Manager")
_MOST: Final = 1 << 16  # bytes read at once
_REPLY, _MEMBER = HeaderFields.reply_serial, HeaderFields.member


class BusError(Exception):
    """systemd cannot be asked: why."""


async def run(spec: ProbeSpec, helper: Helper, path: str = SYSTEM_BUS) -> Attempt:
    """Start spec.unit and wait for its end; at its timeout it is killed whole. No bus, or a privileged helper
    that refuses, is no verdict on the application."""
    started = False
    try:
        async with asyncio.timeout(spec.timeout), _bus(path) as bus:
            await bus.watch_jobs(spec.unit)
            if (wrong := await bus.unfit(spec.unit)) is not None:
                return Attempt(False, wrong)
            started = True  # the privileged helper may have done it though its answer is lost
            answer = await helper.ask("probe run", Reason.PROBE_FAILING, probe=spec.name)
            return await bus.verdict(spec.unit, await bus.end_of(str(answer.get("job"))))
    except TimeoutError:
        if not started:
            return Attempt(None, f"cannot ask systemd: no answer within {spec.timeout:g} s")
        with suppress(Trouble):  # it runs on then, and the next try finds it
            await helper.ask("probe stop", Reason.PROBE_FAILING, probe=spec.name)
        return Attempt(False, f"{spec.unit}: no end within {spec.timeout:g} s")
    except (OSError, EOFError, AuthenticationError) as error:
        return Attempt(None, f"cannot ask systemd on {path}: {str(error) or 'it hung up'}")
    except BusError as error:
        return Attempt(None, f"cannot ask systemd: {error}")
    except Trouble as trouble:
        return Attempt(None, trouble.detail)


class _Bus:
    """One connection, used by one task. Raises EOFError, OSError, BusError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._parser = reader, writer, Parser()
        self._serial = 0
        self._ended: dict[str, str] = {}  # job → result

    async def hello(self) -> None:
        proof = Authenticator()
        for said in proof:
            self._writer.write(said)
            answer = await self._reader.read(_MOST)
            if not answer:
                raise EOFError
            proof.feed(answer)
        self._writer.write(BEGIN)
        await self._call(message_bus.Hello())

    async def watch_jobs(self, unit: str) -> None:
        rule = MatchRule(
            type="signal", interface=f"{_SYSTEMD}.Manager", member="JobRemoved", path="/org/freedesktop/systemd1"
        )
        rule.add_arg_condition(2, unit)
        await self._call(message_bus.AddMatch(rule))
        await self._call(new_method_call(_MANAGER, "Subscribe"))

    async def unfit(self, unit: str) -> str | None:
        """Why the end of this unit's start would say nothing; None: it is fit."""
        if await self._property(unit, "Unit", "LoadState") == "not-found":
            return f"there is no unit {unit}"
        kind, stays = [await self._property(unit, "Service", key) for key in ("Type", "RemainAfterExit")]
        if kind != "oneshot" or stays:
            return f"{unit} must have Type=oneshot, and no RemainAfterExit"
        return None

    async def end_of(self, job: str) -> str:
        """How a job ended: done, failed, timeout, canceled, dependency, skipped …"""
        while job not in self._ended:
            self._note(await self._next())
        return self._ended[job]

    async def verdict(self, unit: str, result: str) -> Attempt:
        if result == "done":
            return Attempt(True, f"{unit}: done")
        cause = str(await self._property(unit, "Service", "Result"))
        if cause == "exit-code":
            cause = f"exit {await self._property(unit, 'Service', 'ExecMainStatus')}"
        return Attempt(False, f"{unit}: {result}: {cause}")

    async def _property(self, unit: str, kind: str, name: str) -> Any:
        (path,) = await self._call(new_method_call(_MANAGER, "LoadUnit", "s", (unit,)))
        place = DBusAddress(path, _SYSTEMD, f"{_SYSTEMD}.{kind}")
        ((_, value),) = await self._call(Properties(place).get(name))
        return value

    async def _call(self, message: Message) -> tuple[Any, ...]:
        self._serial += 1
        self._writer.write(message.serialise(self._serial))
        while True:
            answer = await self._next()
            if answer.header.fields.get(_REPLY) != self._serial:
                self._note(answer)
            elif answer.header.message_type is MessageType.error:
                raise BusError(str(answer.body[0]) if answer.body else "an error without words")
            else:
                return tuple(answer.body)

    def _note(self, message: Message) -> None:
        if (
            message.header.message_type is MessageType.signal
            and message.header.fields.get(_MEMBER) == "JobRemoved"
        ):
            _, job, _, result = message.body
            self._ended[job] = result

    async def _next(self) -> Message:
        while (message := self._parser.get_next_message()) is None:
            data = await self._reader.read(_MOST)
            if not data:
                raise EOFError
            self._parser.add_data(data)
        return message


@asynccontextmanager
async def _bus(path: str) -> AsyncIterator[_Bus]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        bus = _Bus(reader, writer)
        await bus.hello()
        yield bus
    finally:
        writer.transport.abort()
