"""The proxy's page of metrics as it is passed on: line by line, without what the agent's page has already, and up
to a limit. Where a host has two slots, each sample says of which it is. Pure: it takes chunks and gives chunks."""

from typing import Final

MOST: Final = 8 << 20  # bytes
_LINE: Final = 1 << 16  # bytes of one that has not ended yet
_NAMED = (b"# HELP ", b"# TYPE ", b"# UNIT ")


class Passing:
    """`complete`: the page ended as one does, and nothing was cut off. `begun`: there is a page. `slot`: the label
    that each sample gets; "": none. `named`: the comments on names are passed on; of two pages, those of the first
    alone."""

    def __init__(self, most: int = MOST, slot: str = "", *, named: bool = True) -> None:
        self._left, self._rest, self._named = most, b"", named
        self._label = f'slot="{slot}"'.encode() if slot else b""
        self.full = self.begun = self._ended = False

    @property
    def complete(self) -> bool:
        return self._ended and not self.full

    def chunk(self, data: bytes) -> bytes:
        """What of it is passed on."""
        self.begun = True
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
            elif line and not _of_the_process(line) and (self._named or not line.startswith(b"#")):
                line = _labelled(line, self._label) if self._label else line
                if len(line) + 1 > self._left:
                    self.full = True
                if self.full:
                    break
                self._left -= len(line) + 1
                kept += line + b"\n"
        return bytes(kept)


def _labelled(line: bytes, label: bytes) -> bytes:
    """A sample with one label more. The value follows the first space outside of labels."""
    if line.startswith(b"#"):
        return line
    name, _, rest = line.partition(b" ")
    before, brace, labels = line.partition(b"{")
    if brace and len(before) < len(name) + 1:
        return before + b"{" + label + (b"" if labels.startswith(b"}") else b",") + labels
    return name + b"{" + label + b"} " + rest


def _of_the_process(line: bytes) -> bool:
    name = next((line.removeprefix(start) for start in _NAMED if line.startswith(start)), line)
    return name.startswith(b"process_")
