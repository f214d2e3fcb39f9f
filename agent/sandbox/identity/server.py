"""Servers that run while a context lasts, or from `start` to `stop`."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Server(ABC):
    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
