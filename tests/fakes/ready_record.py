"""A fake record. Held to the contract of tests/contract/test_ready_record.py."""

from agent.ports import Trouble


class MemoryReadyRecord:
    """`trouble`: raised by each call while it is set."""

    def __init__(self, recorded: bool = False) -> None:
        self.recorded, self.writes = recorded, 0
        self.trouble: Trouble | None = None

    async def read(self) -> bool:
        self._check()
        return self.recorded

    async def write(self) -> bool:
        self._check()
        self.recorded, self.writes = True, self.writes + 1
        return self.recorded

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble
