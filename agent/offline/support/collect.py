"""Collects every part side by side, and scrubs it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from agent.core import text
from agent.core.support import scrub
from agent.offline.support import known
from agent.offline.support.part import Missing, Part, Piece
from agent.offline.support.parts import parts

_AT_ONCE: Final = 4  # programs; a host in trouble may be short of memory
_WITHIN: Final = 60.0  # seconds for all


def collect(prefix: str) -> tuple[Piece, ...]:
    return asyncio.run(of(parts(prefix), known.values(prefix)))


async def of(wanted: Sequence[Part], secret: frozenset[str], within: float = _WITHIN) -> tuple[Piece, ...]:
    """In their order. What has not answered in time is missing."""
    slots = asyncio.Semaphore(_AT_ONCE)
    loop = asyncio.get_running_loop()
    until = loop.time() + within

    async def piece(part: Part) -> Piece:
        try:
            async with asyncio.timeout_at(until), slots:
                content = await part.read()
        except Missing as missing:
            return Piece(part.name, part.source, trouble=text.detail(scrub.scrub(str(missing), secret)))
        except TimeoutError:
            return Piece(part.name, part.source, trouble=f"no answer within {within:g} s")
        return _scrubbed(part, content, secret)

    return tuple(await asyncio.gather(*map(piece, wanted)))


def _scrubbed(part: Part, content: str, secret: frozenset[str]) -> Piece:
    """Scrubbed before it is cut: a rule may need what is behind the cut."""
    clean = scrub.scrub(scrub.configuration(content) if part.ours else content, secret).encode(errors="replace")
    if len(clean) <= part.most:
        return Piece(part.name, part.source, clean, "" if clean else "it is empty")
    return Piece(part.name, part.source, clean[: part.most], f"cut: the first {part.most} of {len(clean)} bytes")
