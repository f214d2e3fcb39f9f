"""What a built file requires of the system that it runs on, read from the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.segments import InterpSegment

# What glibc itself brings, on every distribution that has it.
GLIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl))\.so\.\d+")

Version = tuple[int, ...]


def files(tree: Path) -> list[Path]:
    """Every ELF file below `tree`, in a fixed order."""
    found = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in found if _starts_as_elf(path)]


def _starts_as_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed(path: Path) -> list[str]:
    """The shared libraries that it names, without glibc's own."""
    return [name for name in named(path) if not GLIBC.fullmatch(name)]


def named(path: Path) -> list[str]:
    """The shared libraries that it names."""
    with path.open("rb") as file:
        sections = ELFFile(file).iter_sections()
        tags = (tag for one in sections if isinstance(one, DynamicSection) for tag in one.iter_tags("DT_NEEDED"))
        return [str(tag.needed) for tag in tags]  # type: ignore[attr-defined]  # its name is set when it is read


def loader(program: Path) -> str:
    """The path of the program that loads it, as the kernel reads it."""
    with program.open("rb") as file:
        segments = (one for one in ELFFile(file).iter_segments() if isinstance(one, InterpSegment))
        return str(next(segments).get_interp_name())


def floor(paths: Iterable[Path]) -> Version:
    """The oldest glibc that has every symbol version which these files ask for, as (2, 36)."""
    return max((version for path in paths for version in _glibc_versions(path)), default=(0,))


def _glibc_versions(path: Path) -> Iterator[Version]:
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, entries in section.iter_versions():
                    yield from (number for entry in entries if (number := _number(entry.name)))


def _number(name: str) -> Version:
    found = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", name)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
