"""The record that this host has been Ready: root's file, written by the privileged helper."""

import asyncio

from agent.adapters.helper import Helper
from agent.core.reasons import Reason
from agent.host import Host, reading
from agent.ports import Trouble


class HelperReadyRecord:
    """Implements ports.ReadyRecord. `member`: what the record says of this member of the mesh
    (`core.failure.record`). It lies at PREFIX/var/lib/fairlead/ready-once."""

    def __init__(self, prefix: str, helper: Helper, member: str) -> None:
        self._path, self._helper = Host.below(prefix).ready_once, helper
        self._member = member.encode()

    async def read(self) -> bool:
        try:
            return await asyncio.to_thread(reading.read, self._path, reading.RECORD) == self._member
        except FileNotFoundError:
            return False
        except OSError as error:
            detail = f"cannot read {self._path}: {error.strerror or error}"
            raise Trouble(Reason.STATE_UNWRITABLE, detail) from None

    async def write(self) -> bool:
        """Raises Trouble (STATE_UNWRITABLE); then the record is unchanged."""
        answer = await self._helper.ask("ready record", Reason.STATE_UNWRITABLE)
        return bool(answer.get("recorded"))
