"""A fake phase store. Held to the contract of tests/contract/test_phase_store.py."""

from agent.core.facts import PhaseKind
from agent.ports import Trouble


class MemoryPhaseStore:
    """`trouble`: raised by each call while it is set."""

    def __init__(self, phase: PhaseKind = PhaseKind.MEMBER) -> None:
        self.phase = phase
        self.trouble: Trouble | None = None

    async def read(self) -> PhaseKind:
        self._check()
        return self.phase

    async def write(self, phase: PhaseKind) -> None:
        self._check()
        self.phase = phase

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble
