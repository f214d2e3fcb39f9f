"""What several checks read: taken once, side by side, however many checks wait for it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from agent.config import Config
from agent.core.reasons import Fault
from agent.host import Host
from agent.loops.checks import NotHere
from agent.offline import identity
from agent.offline.doctor import users
from agent.offline.doctor.plain_faults import fault

T = TypeVar("T")


class Sources:
    """Of one host, for one run."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.host = prefix, Host.below(prefix)
        self._taken: dict[str, asyncio.Task[Any]] = {}

    async def once(self, name: str, take: Callable[[], Awaitable[T]]) -> T:
        """The one reading of that name. A check that stops waiting for it does not end it for others."""
        if name not in self._taken:
            self._taken[name] = asyncio.ensure_future(take())
        found: T = await asyncio.shield(self._taken[name])
        return found

    async def close(self) -> None:
        for task in self._taken.values():
            task.cancel()
        await asyncio.gather(*self._taken.values(), return_exceptions=True)

    def config(self) -> Config:
        """Raises NotHere."""
        try:
            return identity.configuration(self.prefix)
        except identity.Unconfigured as error:
            raise NotHere(str(error)) from None

    async def asked(self, user: users.User, question: str) -> Any:
        return await self.once(question, lambda: users.ask(self.prefix, user, question))

    async def agent_identity(self) -> Fault | None:
        return fault(await self.asked(users.agent(self.config()), "agent-identity"))

    async def proxy_identity(self) -> Fault | None:
        return fault(await self.asked(users.proxy(self.config()), "proxy-identity"))


@asynccontextmanager
async def opened(prefix: str) -> AsyncIterator[Sources]:
    sources = Sources(prefix)
    try:
        yield sources
    finally:
        await sources.close()


async def blocking(function: Callable[..., T], *arguments: object) -> T:
    """In a thread that is not joined: one that hangs would delay the end of this program."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(found: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)  # type: ignore[arg-type]  # None only with an error

    def work() -> None:
        found, error = None, None
        try:
            found = function(*arguments)
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=work, daemon=True).start()
    return await answer
