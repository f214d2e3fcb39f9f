"""Which distributions a package runs on, by what each has: as its release notes say."""

from __future__ import annotations

from elf import Version

# Debian 11's: what the package may ask for at most. One that asks for more is not built.
GLIBC: Version = (2, 31)
SYSTEMD = 247  # the oldest that the units know
# Name: glibc, systemd. docs/packaging.md has the same.
HAS: dict[str, tuple[Version, int]] = {
    "Debian 11": ((2, 31), 247),
    "Debian 12": ((2, 36), 252),
    "Debian 13": ((2, 41), 257),
    "Ubuntu 20.04": ((2, 31), 245),
    "Ubuntu 22.04": ((2, 35), 249),
    "Ubuntu 24.04": ((2, 39), 255),
    "RHEL 8": ((2, 28), 239),
    "RHEL 9": ((2, 34), 252),
    "RHEL 10": ((2, 39), 257),
    "Amazon Linux 2": ((2, 26), 219),
    "Amazon Linux 2023": ((2, 34), 252),
    "Fedora 38": ((2, 37), 253),
    "SLES 15 SP3": ((2, 31), 246),
    "SLES 15 SP4": ((2, 31), 249),
    "SLES 15 SP6": ((2, 38), 254),
}


def runs_on(floor: Version) -> list[str]:
    return [name for name, (glibc, systemd) in HAS.items() if glibc >= floor and systemd >= SYSTEMD]


def left_out(floor: Version) -> list[str]:
    return [name for name in HAS if name not in runs_on(floor)]
