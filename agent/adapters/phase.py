"""The host's phase: a world-readable file of root, written through the privileged helper."""

import asyncio
from pathlib import Path

from agent.adapters.helper import Helper
from agent.core.facts import PhaseKind
from agent.core.reasons import Reason
from agent.host import Host, reading
from agent.ports import Trouble

_REMEMBERED = {kind.value: kind for kind in (PhaseKind.MEMBER, PhaseKind.DRAINED, PhaseKind.LEFT)}


class HelperPhaseStore:
    """Implements ports.PhaseStore. The record lies at PREFIX/var/lib/fairlead/phase."""

    def __init__(self, prefix: str, helper: Helper) -> None:
        self._path = Host.below(prefix).phase
        self._helper = helper

    async def read(self) -> PhaseKind:
        try:
            written = await asyncio.to_thread(reading.read, self._path, 64)
        except FileNotFoundError:
            return PhaseKind.MEMBER
        except OSError as error:
            raise _unreadable(self._path, error.strerror or str(error)) from None
        try:
            return _REMEMBERED[written.decode().removesuffix("\n")]
        except (UnicodeDecodeError, KeyError):
            raise _unreadable(self._path, f"it says {written!r}") from None

    async def write(self, phase: PhaseKind) -> None:
        """Raises Trouble (PHASE_UNWRITABLE); then the record is unchanged."""
        await self._helper.ask("phase set", Reason.PHASE_UNWRITABLE, phase=phase.value)


def _unreadable(path: Path, cause: str) -> Trouble:
    return Trouble(Reason.PHASE_UNREADABLE, f"cannot read {path}: {cause}")
