"""The record of a replacement of the proxy: one file of the agent."""

import json
import time

from agent.adapters import files
from agent.adapters.helper import Helper
from agent.core.reasons import Reason
from agent.core.replacement import Replacement, recalled, remembered
from agent.host import Host, boot_id, reading
from agent.ports import Trouble


class HelperReplacementStore:
    """Implements ports.ReplacementStore. A program that can write the record can make the agent drain and restart
    its proxy, and choose among the versions that root installed; nothing else."""

    def __init__(self, prefix: str, helper: Helper) -> None:
        self._path, self._helper = Host.below(prefix).replacement, helper
        self._boot_id = boot_id()

    def recall(self, now: float) -> Replacement | None:
        try:
            return recalled(json.loads(reading.read(self._path, reading.RECORD)), now, _uptime(), self._boot_id)
        except (OSError, ValueError, RecursionError):
            return None

    def remember(self, change: Replacement) -> None:
        record = remembered(change, _uptime(), self._boot_id)
        try:
            files.write_atomically(self._path, json.dumps(record) + "\n", 0o640)
        except OSError as error:
            raise Trouble(
                Reason.PROXY_REPLACEMENT_FAILED, f"cannot write {self._path}: {error.strerror}"
            ) from None

    async def cover(self, version: str) -> None:
        words = {"version": version} if version else {}
        await self._helper.ask("proxy set-standby", Reason.PROXY_BINARY_UNUSABLE, **words)

    async def use(self, version: str) -> None:
        await self._helper.ask("proxy set-current", Reason.PROXY_BINARY_UNUSABLE, version=version)


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
