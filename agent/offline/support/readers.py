"""How parts are read: the output of a program, a file, the names in a folder, a page of the proxy."""

import asyncio
import http.client
import json
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from agent.adapters import spawn
from agent.core import proxy
from agent.core.slots import Slot
from agent.host import reading
from agent.offline import environment
from agent.offline.support.part import Missing

_PAGE_WITHIN: Final = 3.0  # seconds
_MOST_NAMES: Final = 2000  # of a folder

Read = Callable[[], Awaitable[str]]


def program(*command: str, name: str = "", within: float = 10.0) -> Read:
    """Standard output, then standard error. One that fails without any output is missing. `name`: for people."""

    async def read() -> str:
        try:
            done = await spawn.run(command, within=within)
        except spawn.SpawnError as error:
            raise Missing(str(error)) from None
        said, errors = (one.decode(errors="replace") for one in (done.output, done.errors))
        if done.code != 0 and not said.strip():
            line = next((line.strip() for line in errors.splitlines() if line.strip()), "it said nothing")
            raise Missing(f"{name or command[0]}: exit {done.code}: {line}")
        ended = f"\n(exit {done.code})\n" if done.code else ""
        return said + (f"\n(standard error)\n{errors}" if errors.strip() else "") + ended

    return read


def fairlead(*words: str, within: float = 10.0) -> Read:
    """A verb of this version, by this interpreter: a verb that hangs or crashes costs its own part."""
    isolated = ["-IS"] if sys.flags.isolated else []
    return program(sys.executable, *isolated, "-m", "agent", *words, name=f"fairlead {words[0]}", within=within)


def file(path: Path, most: int = reading.DOCUMENT) -> Read:
    async def read() -> str:
        try:
            return await asyncio.to_thread(reading.text, path, most, links=True)
        except OSError as error:
            raise Missing(f"{path}: {error.strerror}") from None

    return read


def files(*paths: Path) -> Read:
    """Short records, those that are there."""

    async def read() -> str:
        return "".join([f"{path}: {await _record(path)}\n" for path in paths])

    return read


async def _record(path: Path) -> str:
    if reading.absent(path):
        return "absent"
    try:
        return (await asyncio.to_thread(reading.text, path, reading.RECORD)).strip()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def names(*folders: Path) -> Read:
    """Names, modes, owners, sizes and times below these folders; no content."""

    async def read() -> str:
        lines = await asyncio.to_thread(lambda: [line for folder in folders for line in _lines(folder)])
        return "\n".join(lines) + "\n"

    return read


def _lines(folder: Path) -> list[str]:
    try:
        paths = [folder, *sorted(folder.rglob("*"))]
    except OSError as error:
        return [f"{folder}: {error.strerror}"]
    lines = [_line(path) for path in paths[:_MOST_NAMES]]
    return lines + (
        [f"{folder}: {len(paths)} names, of which {_MOST_NAMES} are listed"] * (len(paths) > _MOST_NAMES)
    )


def _line(path: Path) -> str:
    try:
        found = path.lstat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    return f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid} {found.st_size:>9} {at} {path}"


def page(path: str, most: int, slot: Slot = Slot.MAIN) -> Read:
    """Of the admin port of the proxy in that slot."""

    async def read() -> str:
        return await asyncio.to_thread(_page, path, most, slot)

    return read


def _page(path: str, most: int, slot: Slot) -> str:
    connection = http.client.HTTPConnection(*environment.admin(slot), timeout=_PAGE_WITHIN)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content, until = b"", time.monotonic() + _PAGE_WITHIN
        while len(content) < most and time.monotonic() < until and (read := answer.read1(1 << 16)):
            content += read
        return f"HTTP {answer.status}\n{content.decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        raise Missing(f"the proxy's admin port gives no {path}: {error}") from None
    finally:
        connection.close()


def running_environment(slot: Slot = Slot.MAIN) -> Read:
    async def read() -> str:
        try:
            return json.dumps(proxy.masked(await asyncio.to_thread(environment.running, slot)), indent=2)
        except environment.Unavailable as error:
            raise Missing(str(error)) from None

    return read
