"""What is remembered of a replacement of the proxy: one file of the agent's own."""

import json
from pathlib import Path

from agent.adapters import files
from agent.adapters.door import Door
from agent.core.reasons import Reason
from agent.core.replacement import Replacement, recalled, remembered
from agent.ports import Trouble

RECORD = "var/lib/fairlead/agent/replacement.json"


class DoorReplacementStore:
    """Implements ports.ReplacementStore. Whoever could write the record could make the agent drain and restart its
    proxy, and choose among versions that root installed; nothing else."""

    def __init__(self, prefix: str, door: Door) -> None:
        self._path, self._door = Path(prefix) / RECORD, door

    def recall(self, now: float) -> Replacement | None:
        try:
            return recalled(json.loads(self._path.read_text()), now)
        except (OSError, ValueError):
            return None

    def remember(self, change: Replacement) -> None:
        try:
            files.write_atomically(self._path, json.dumps(remembered(change)) + "\n", 0o640)
        except OSError as error:
            raise Trouble(
                Reason.PROXY_REPLACEMENT_FAILED, f"cannot write {self._path}: {error.strerror}"
            ) from None

    async def use(self, version: str) -> None:
        await self._door.ask("proxy set-current", Reason.PROXY_BINARY_UNUSABLE, version=version)
