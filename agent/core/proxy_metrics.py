"""The proxy's page of metrics as it is passed on: line by line, without what the agent's page has already, and up
to a limit. Pure: it takes chunks and gives chunks."""

from typing import Final

MOST: Final = 8 << 20  # bytes
_LINE: Final = 1 << 16  # bytes of one that has not ended yet
_NAMED = (b"# HELP ", b"# TYPE ", b"# UNIT ")


class Passing:
    """`complete`: the page ended as one does, and nothing was cut off."""

    def __init__(self, most: int = MOST) -> None:
        self._left, self._rest = most, b""
        self.full = self._ended = False

    @property
    def complete(self) -> bool:
        return self._ended and not self.full

    def chunk(self, data: bytes) -> bytes:
        """What of it is passed on."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE:
            self.full = True
        return self._kept(lines)

    def end(self) -> bytes:
        last, self._rest = self._rest, b""
        return self._kept([last]) if last else b""

    def _kept(self, lines: list[bytes]) -> bytes:
        kept = bytearray()
        for line in lines:
            if line.rstrip() == b"# EOF":
                self._ended = True
            elif line and not _of_the_process(line):
                if len(line) + 1 > self._left:
                    self.full = True
                if self.full:
                    break
                self._left -= len(line) + 1
                kept += line + b"\n"
        return bytes(kept)


def _of_the_process(line: bytes) -> bool:
    name = next((line.removeprefix(start) for start in _NAMED if line.startswith(start)), line)
    return name.startswith(b"process_")
