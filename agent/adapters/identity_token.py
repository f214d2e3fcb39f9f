"""The token for Linkerd's identity controller: where the proxy's user reads it, and where it comes from.

Law: a token is in memory and in the one file below the runtime directory; no Trouble holds a part of it. The
proxy reads the file again for each certificate, and an empty one is fatal at its start, so only a checked token is
written, atomically.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.adapters import files
from agent.core import text_files, token
from agent.core.reasons import Fault, Reason
from agent.core.token import Claims
from agent.host import reading
from agent.ports import Trouble

MOST = 1 << 16  # bytes of a token


@dataclass(frozen=True)
class Place:
    """`owner`: uid and gid of the proxy. `subject`: whom the token must speak for. `wall`: seconds since the
    epoch."""

    path: Path
    owner: tuple[int, int]
    subject: str
    wall: Callable[[], float]

    def checked(self, text: str, where: str) -> Claims:
        """Raises Trouble (IDENTITY_TOKEN_UNSUITABLE, CLOCK_SKEWED, IDENTITY_EXPIRED)."""
        return checked(text, self.subject, self.wall(), where)

    async def read(self) -> str:
        """Raises Trouble (IDENTITY_TOKEN_UNREADABLE)."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> str:
        text = read(self.path, links=False)
        for place, wanted in ((self.path.parent, stat.S_IXOTH), (self.path, stat.S_IROTH)):
            if not _may(place.stat(), self.owner, wanted):
                detail = f"{place} is closed to uid {self.owner[0]}, the proxy's"
                raise Trouble(Reason.IDENTITY_TOKEN_UNREADABLE, detail)
        return text

    async def put(self, text: str) -> None:
        """Raises Trouble (IDENTITY_TOKEN_UNWRITABLE)."""
        try:
            await asyncio.to_thread(self._put, text)
        except OSError as error:
            detail = f"cannot write {self.path}: {error.strerror}"
            raise Trouble(Reason.IDENTITY_TOKEN_UNWRITABLE, detail) from error

    def _put(self, text: str) -> None:
        if os.geteuid() == 0:  # else it was made at boot
            furnish(self.path.parent, 0o2750, (0, self.owner[1]))
        files.write_atomically(self.path, text, 0o640)


class _Held:
    def __init__(self, place: Place) -> None:
        self._place = place

    async def held(self) -> Claims:
        return self._place.checked(await self._place.read(), str(self._place.path))


class FromFile(_Held):
    """Implements ports.IdentityTokens: another program renews `file`, which this process must be able to read. The
    agent copies it to the proxy, unless it is incomplete or not for this host."""

    def __init__(self, place: Place, file: Path) -> None:
        super().__init__(place)
        self._file = file

    async def renew(self) -> None:
        text = await asyncio.to_thread(read, self._file, links=True)
        self._place.checked(text, str(self._file))
        if text != await _or_nothing(self._place):
            await self._place.put(text)


class Requested(_Held):
    """Implements ports.IdentityTokens: `ask` returns a new one, at half of the life of the previous one."""

    def __init__(self, place: Place, ask: Callable[[], Awaitable[str]]) -> None:
        super().__init__(place)
        self._ask = ask

    async def renew(self) -> None:
        try:
            if self._place.wall() < (await self.held()).half_life:
                return
        except Trouble:
            pass  # there is none that is of use: the very reason to ask
        text = await self._ask()
        self._place.checked(text, "what the API server gave")
        await self._place.put(text)


async def _or_nothing(place: Place) -> str:
    try:
        return await place.read()
    except Trouble:
        return ""


def read(path: Path, *, links: bool) -> str:
    """Raises Trouble (IDENTITY_TOKEN_UNREADABLE)."""
    try:
        text = text_files.text(reading.read(path, MOST, links=links)).strip()
    except OSError as error:
        raise Trouble(Reason.IDENTITY_TOKEN_UNREADABLE, f"cannot read {path}: {error.strerror}") from error
    if not text:
        raise Trouble(Reason.IDENTITY_TOKEN_UNREADABLE, f"{path} is empty")
    return text


def checked(text: str, subject: str, wall_now: float, where: str) -> Claims:
    """Raises Trouble (IDENTITY_TOKEN_UNSUITABLE, CLOCK_SKEWED, IDENTITY_EXPIRED)."""
    try:
        claims = token.claims(text)
        fault = token.usable(claims, subject, wall_now)
    except ValueError as error:
        fault = Fault(Reason.IDENTITY_TOKEN_UNSUITABLE, str(error))
    if fault is not None:
        raise Trouble(fault.reason, f"{where}: {fault.detail}")
    return claims


def _may(status: os.stat_result, owner: tuple[int, int], wanted: int) -> bool:
    """`wanted`: a right, as the bit for others."""
    uid, gid = owner
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return bool(status.st_mode & wanted << shift)


def furnish(folder: Path, mode: int, owner: tuple[int, int]) -> None:
    """Make it where it is missing; needs root. Raises OSError."""
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, *owner)
        folder.chmod(mode)
