"""The folders that fairlead writes in: whether one has space, and the other still has the sockets."""

import asyncio
import os
from pathlib import Path

from agent.core.reasons import Reason
from agent.ports import Trouble

LEAST = 1 << 16  # bytes; less is as good as nothing


class HostFolders:
    """`state`: where the agent keeps what must outlive it. `sockets`: those that are there now must stay."""

    def __init__(self, state: Path, *sockets: Path) -> None:
        self._state = state
        self._sockets = [path for path in sockets if path.exists()]

    async def look(self) -> None:
        """Writes nothing itself. Raises Trouble (SOCKETS_GONE, STATE_UNWRITABLE)."""
        for path in self._sockets:
            if not path.exists():
                raise Trouble(Reason.SOCKETS_GONE, f"{path} is gone")
        if cause := await asyncio.to_thread(unwritable, self._state):
            raise Trouble(Reason.STATE_UNWRITABLE, cause)


def unwritable(folder: Path) -> str:
    """Why nothing can be written there; "": it can. A missing folder is created when it is needed."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        filesystem = os.statvfs(place)
    except OSError as error:
        return f"cannot look at {place}: {error.strerror}"
    if filesystem.f_flag & os.ST_RDONLY:
        return f"{place} is mounted read-only"
    if filesystem.f_bavail * filesystem.f_frsize < LEAST:
        return f"no space is left for {place}"
    if filesystem.f_files and not filesystem.f_favail:  # some file systems do not count files
        return f"no inode is left for {place}"
    return ""
