"""What one call to the API server needs, and who provides it.

Law: exactly one credential is in use and none falls back to another; a secret stands in no repr, no Trouble and
no file that this host did not already have.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.core import text_files
from agent.core.backoff import Backoff
from agent.core.reasons import Fault, Reason
from agent.host import reading
from agent.ports import Trouble

RETRY = Backoff(first=1.0, factor=2.0, most=30.0)


@dataclass(frozen=True)
class Access:
    """`server`: https://host:port. `authority`: PEM that its certificate must come from, and where that was read.
    `server_name`: what it must be for, "" for the host in `server`. `certificate`: PEM of the client's own chain
    and key, b"" for none."""

    server: str
    authority: bytes = field(repr=False)
    authority_from: str
    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    server_name: str = ""


class Credential(Protocol):
    async def access(self) -> Access:
        """Raises Trouble (API_*), within about 3 s."""
        ...

    def refused(self, said: str) -> Fault:
        """The server rejected the credential (401): the reason. It is renewed if possible."""
        ...

    def about(self) -> dict[str, Any]:
        """For people: at least `kind`; times named `..._at` are monotonic."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Fresh:
    """A value that expires. `lifetime`: seconds from now; None: not known."""

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    lifetime: float | None = None


class Renewed:
    """Keeps the result of `fetch` only in memory, and renews it at half of its life, in the background.

    Only a caller without a valid value waits, for `patience` seconds; a slow source continues in the background,
    for the next call. After a failed renewal the current value is used for as long as it is valid.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fresh]],
        pending: Fault,
        jitter: Callable[[], float],
        patience: float = 3.0,
    ) -> None:
        self._fetch, self._pending, self._jitter, self._patience = fetch, pending, jitter, patience
        self._held: Fresh | None = None
        self._expires_at: float | None = None
        self._renew_at = 0.0
        self._failures = 0
        self._task: asyncio.Task[Fresh] | None = None

    @property
    def expires_at(self) -> float | None:
        return self._expires_at

    def about(self) -> dict[str, float]:
        """Times on the loop's clock: until when what is held is valid, and after a renewal that failed, when the
        next call tries again."""
        ends = {} if self._expires_at is None else {"expires_at": self._expires_at}
        return ends | ({"retry_at": self._renew_at} if self._failures else {})

    async def get(self) -> Fresh:
        """Raises Trouble: there is none, or none yet."""
        now = asyncio.get_running_loop().time()
        valid = self._held is not None and (self._expires_at is None or now < self._expires_at)
        if self._task is None and (not valid or now >= self._renew_at):
            self._task = asyncio.create_task(self._renewal(), name="credential: renewal")
            self._task.add_done_callback(self._ended)
        if valid and self._held is not None:
            return self._held
        assert self._task is not None
        done, _ = await asyncio.wait({self._task}, timeout=self._patience)
        if not done:
            raise Trouble(self._pending.reason, self._pending.detail)
        return done.pop().result()

    def stale(self) -> None:
        """What is held was refused: get another one, soon."""
        self._renew_at = 0.0

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _renewal(self) -> Fresh:
        fresh = await self._fetch()
        now = asyncio.get_running_loop().time()
        self._held, self._failures = fresh, 0
        self._expires_at = None if fresh.lifetime is None else now + fresh.lifetime
        self._renew_at = float("inf") if fresh.lifetime is None else now + max(1.0, fresh.lifetime / 2)
        return fresh

    def _ended(self, task: asyncio.Task[Fresh]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            if not isinstance(error, Trouble):
                raise error  # a bug, reported by the loop's exception handler and by the waiting caller
            self._renew_at = asyncio.get_running_loop().time() + RETRY.delay(self._failures, self._jitter())
            self._failures += 1


def contents(path: Path, what: str) -> bytes:
    """Raises Trouble (API_CREDENTIAL_UNREADABLE)."""
    try:
        return reading.read(path, reading.DOCUMENT, links=True)
    except OSError as error:
        raise unreadable(what, path, error.strerror or str(error)) from error


def unreadable(what: str, path: Path, cause: str) -> Trouble:
    return Trouble(Reason.API_CREDENTIAL_UNREADABLE, f"cannot read {what} {path}: {cause}")


def is_token(text: str) -> bool:
    """It can stand in a header."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


class TokenFile:
    """A bearer token in a file that another program renews. Both files are read at each call."""

    def __init__(self, server: str, ca_file: str, token_file: str) -> None:
        self._access = Access(server, b"", f"cannot read CA certificate {ca_file}")
        self._ca_file, self._token_file = Path(ca_file), Path(token_file)

    async def access(self) -> Access:
        authority = contents(self._ca_file, "CA certificate")
        token = text_files.text(await asyncio.to_thread(contents, self._token_file, "token")).strip()
        if not is_token(token):
            raise unreadable("token", self._token_file, "it holds no token")
        return dataclasses.replace(self._access, authority=authority, token=token)

    def refused(self, said: str) -> Fault:
        return Fault(Reason.API_UNAUTHORIZED, said)

    def about(self) -> dict[str, Any]:
        return {"kind": "token-file", "file": str(self._token_file)}

    async def close(self) -> None:
        """It holds nothing."""
