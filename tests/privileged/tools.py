"""The firewall programs of other Debian releases in place of this machine's, for one command and its children."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.realparts import where

_PROGRAMS = ("nft", "xtables-nft-multi", "xtables-legacy-multi")  # the rest are links to these
_LIBRARIES = f"usr/lib/{platform.machine()}-linux-gnu"
# The name by which a program was called tells it what to do, and its extensions are those of its own release.
_WRAPPER = """#!/bin/sh
export XTABLES_LIBDIR={libraries}/xtables
exec {loader} --library-path {libraries} {program} {name} "$@"
"""
_NAME = '"${0##*/}"'
_MOUNTS = 'for one in "$0"/*; do mount --bind "$one" "$(readlink -f "/usr/sbin/${one##*/}")"; done; exec "$@"'


@dataclass(frozen=True)
class Tools:
    """`part`: the real part whose folder they are in. `nft`, `iptables`: how their versions begin."""

    release: str
    part: str
    nft: str
    iptables: str

    def command(self, folder: Path, *argv: str) -> list[str]:
        """The command line that runs `argv` with them. `folder`: an empty one, for the mounts."""
        root = where(self.part)
        libraries = root / _LIBRARIES
        (loader,) = libraries.glob("ld-linux-*.so.*")
        for name in _PROGRAMS:
            wrapper = folder / name
            # The first word of those with many names is the name: an old loader cannot give a program another.
            program, called = root / "usr/sbin" / name, _NAME if name.endswith("-multi") else ""
            text = _WRAPPER.format(loader=loader, libraries=libraries, program=program, name=called)
            wrapper.write_text(text)
            wrapper.chmod(0o755)
        return ["unshare", "--mount", "sh", "-e", "-c", _MOUNTS, str(folder), *argv]


# The first are the oldest of those that are supported; this machine's own are tested everywhere else.
OTHERS: Sequence[Tools] = (
    Tools("bullseye", "debian-bullseye", "nftables v0.9.8", "iptables v1.8.7"),
    Tools("trixie", "debian-trixie", "nftables v1.1.", "iptables v1.8.11"),
    Tools("forky", "firewall-tools", "nftables v1.1.", "iptables v1.8."),
)
